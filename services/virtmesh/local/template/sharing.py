"""Keeping memory shared between a template and its forks.

A page is shared until somebody writes to it. Python writes where it only reads: it counts
references, and marks objects when it looks for garbage.
"""

from __future__ import annotations

import gc
import types

from virtmesh_native import make_immortal

UNENDING = (
    # The code of modules, and what it is made of.
    types.BuiltinFunctionType,
    types.CellType,
    types.ClassMethodDescriptorType,
    types.CodeType,
    types.FunctionType,
    types.GetSetDescriptorType,
    types.MappingProxyType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.ModuleType,
    types.WrapperDescriptorType,
    classmethod,
    property,
    staticmethod,
    # Its constants and tables.
    bytes,
    complex,
    dict,
    float,
    frozenset,
    int,
    list,
    set,
    str,
    tuple,
)
"""Types whose objects end without an effect, so that it is no loss when they do not end."""


def keep_shared() -> None:
    """Let nobody write to what is there now, neither here nor in forks, by only using it.

    What is there is never freed: it is for a process that has imported what it needs, and has no
    event loop and no thread. Before Python 3.12 references are counted all the same.
    """
    make_immortal(gc.get_objects(), UNENDING)
    gc.freeze()

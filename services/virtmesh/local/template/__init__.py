"""A process that has imported what services need, and forks them.

Python takes longer to import a service than the service takes to start. A fork has the modules
at once, and shares the memory of them.
"""

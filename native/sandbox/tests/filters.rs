//! Filters as text: what is refused before the kernel is asked.

use virtmesh_sandbox::{FilterError, compile, filter};

const TEXT: &str = r#"{"one": {"mismatch_action": {"errno": 38}, "match_action": "allow",
    "filter": [{"syscall": "read"}]}}"#;

#[test]
fn each_filter_has_its_name() {
    for processor in ["x86_64", "aarch64", "riscv64"] {
        let programs = compile(TEXT, processor).unwrap();
        assert_eq!(programs.keys().collect::<Vec<_>>(), ["one"]);
    }
}

#[test]
fn a_processor_that_is_not_known_has_no_filters() {
    assert!(matches!(
        compile(TEXT, "s390x"),
        Err(FilterError::Processor(name)) if name == "s390x"
    ));
}

#[test]
fn a_system_call_that_is_unknown_is_an_error() {
    let text = TEXT.replace("read", "raed");
    assert!(matches!(
        compile(&text, "x86_64"),
        Err(FilterError::Text(_))
    ));
}

#[test]
fn a_filter_that_is_missing_is_not_put_in_force() {
    assert!(matches!(
        filter(TEXT, &["other".to_owned()]),
        Err(FilterError::Missing(name)) if name == "other"
    ));
}

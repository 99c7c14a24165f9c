//! The linker runs elsewhere than the sources are.

fn main() {
    println!("cargo::rerun-if-changed=kernel.ld");
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::rustc-link-search={here}");
}

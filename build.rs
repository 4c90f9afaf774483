//! Tells the crate which commit it is built from, so that every benchmark result can say so.
//!
//! Without git or outside a repository both variables stay unset and results say `unknown`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src");
    if let Some(directory) = git(&["rev-parse", "--absolute-git-dir"]) {
        println!("cargo::rerun-if-changed={directory}/HEAD");
        println!("cargo::rerun-if-changed={directory}/logs/HEAD");
    }
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo::rustc-env=CORELOG_BUILD_COMMIT={commit}");
    }
    // Only what goes into the build: notes and recorded figures do not make it another program.
    let built = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];
    if let Some(changes) = git(&[&["status", "--porcelain", "--"], &built[..]].concat()) {
        println!("cargo::rustc-env=CORELOG_BUILD_DIRTY={}", !changes.is_empty());
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(arguments).output().ok()?;
    answer
        .status
        .success()
        .then(|| String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}

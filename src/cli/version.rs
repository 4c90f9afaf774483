//! `corelog version`: which build this is.

use serde_json::json;

use super::args::OutputFormat;
use super::output::Listing;
use super::{CliError, Streams};

pub(super) fn run(output: OutputFormat, streams: &mut Streams<'_>) -> Result<(), CliError> {
    let mut listing = Listing::new(&["version", "profile", "allocator", "target"]);
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    listing.push([json!(VERSION), json!(PROFILE), json!(ALLOCATOR), json!(target)]);
    listing.print(output, streams.out)
}

/// The version of the crate.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
const PROFILE: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};
const ALLOCATOR: &str = if cfg!(feature = "mimalloc") {
    "mimalloc"
} else {
    "system"
};

#[cfg(test)]
mod tests {
    use super::super::tests::corelog;

    #[test]
    fn programs_can_read_the_version() {
        let (code, out, _) = corelog(&["version", "-o", "json"], "");
        let parsed: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (code, parsed[0]["version"].as_str()),
            (0, Some(env!("CARGO_PKG_VERSION")))
        );
    }
}

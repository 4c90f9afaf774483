//! `corelog generate`: completions for shells and pages for `man`, made from the grammar itself, so that they cannot lag behind.

use std::path::Path;

use clap::CommandFactory;

use super::args::{Cli, GenerateCommand};
use super::{CliError, Streams};

pub(super) fn run(command: &GenerateCommand, streams: &mut Streams<'_>) -> Result<(), CliError> {
    match command {
        GenerateCommand::Completions { shell } => {
            // Into memory first: the generator panics where a pipe breaks.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "corelog", &mut script);
            Ok(streams.out.write_all(&script)?)
        }
        GenerateCommand::Man { directory } => man(directory),
    }
}

fn man(directory: &Path) -> Result<(), CliError> {
    let failed = |error| CliError::Failed(format!("cannot write to {}: {error}", directory.display()));
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::tests::corelog;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let (code, out, err) = corelog(&["generate", "completions", shell], "");
            assert_eq!((code, err.as_str()), (0, ""), "{shell}");
            for word in ["consume", "describe", "dry-run"] {
                assert!(out.contains(word), "{shell} does not know {word}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("man");
        assert_eq!(
            corelog(&["generate", "man", path.to_str().unwrap()], ""),
            (0, String::new(), String::new())
        );
        for page in ["corelog.1", "corelog-consume.1", "corelog-group-seek.1"] {
            let text = std::fs::read_to_string(path.join(page)).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
        }
    }
}

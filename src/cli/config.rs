//! `corelog config`: print, check and explain the configuration, without starting anything.

use std::fs;
use std::path::{Path, PathBuf};

use crate::server::config::text::{Origins, default_file, in_force};
use crate::server::config::{ConfigError, Loaded, Sources, load};

use super::args::{ConfigCommand, ServeArgs};
use super::{CliError, Streams};

pub(super) fn run(command: &ConfigCommand, streams: &mut Streams<'_>) -> Result<(), CliError> {
    match command {
        ConfigCommand::Default => write!(streams.out, "{}", default_file())?,
        ConfigCommand::Check { file } => {
            let sources = Sources {
                file: Some(read_file(file)?),
                ..Sources::default()
            };
            load(&sources).map_err(|errors| CliError::Failed(describe(&errors)))?;
            writeln!(streams.out, "{}: ok", file.display())?;
        }
        ConfigCommand::Show { origin, serve } => {
            let origins = if *origin { Origins::Shown } else { Origins::Hidden };
            write!(streams.out, "{}", in_force(&load_for(serve)?, origins))?;
        }
    }
    Ok(())
}

/// The configuration a server with these arguments, in this process's environment, would have.
pub(super) fn load_for(args: &ServeArgs) -> Result<Loaded, CliError> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let file = args.config.as_deref().map(read_file).transpose()?;
    load(&args.sources(environment, file)).map_err(|errors| CliError::Usage(describe(&errors)))
}

fn read_file(path: &Path) -> Result<(PathBuf, String), CliError> {
    let text =
        fs::read_to_string(path).map_err(|error| CliError::Failed(format!("{}: {error}", path.display())))?;
    Ok((path.to_owned(), text))
}

fn describe(errors: &[ConfigError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n       ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::corelog;

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("corelog.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (dir, path)
    }

    #[test]
    fn the_default_file_passes_its_own_check() {
        let (code, text, _) = corelog(&["config", "default"], "");
        assert_eq!(code, 0);
        let (_dir, path) = file(&text);
        let (code, out, err) = corelog(&["config", "check", &path], "");
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.ends_with(": ok\n"));
    }

    #[test]
    fn a_bad_file_fails_with_its_place() {
        let (_dir, path) = file("memory = 5\ncoress = 1\n");
        let (code, out, err) = corelog(&["config", "check", &path], "");
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(
            err.contains(":2:1: unknown setting \"coress\": did you mean \"cores\"?"),
            "{err}"
        );
        let (code, _, err) = corelog(&["config", "check", "/nonexistent"], "");
        assert_eq!(code, 1);
        assert!(err.contains("/nonexistent"), "{err}");
    }

    #[test]
    fn origins_are_shown_on_request() {
        let (_dir, path) = file("[log]\nsegment_bytes = \"64MiB\"\n");
        let line = [
            "config", "show", "--origin", "--config", &path, "--memory", "1GiB", "--set", "cores=0",
        ];
        let (code, out, err) = corelog(&line, "");
        assert_eq!((code, err.as_str()), (0, ""));
        for expected in ["corelog.toml:2:17", "# --memory", "# --set", "# default"] {
            assert!(out.contains(expected), "{expected} is missing in {out}");
        }
    }

    #[test]
    fn bad_arguments_are_misuse() {
        let (code, _, err) = corelog(&["config", "show", "--memory", "much"], "");
        assert_eq!(code, 2);
        assert!(err.contains("--memory: memory: expected a whole number"), "{err}");
    }
}

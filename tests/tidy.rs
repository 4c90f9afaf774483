//! House rules that a compiler does not hold: who may import whom, and what a tracked file may not contain.
//!
//! Rooms stand on floors ([`FLOORS`]). Code in `src/<room>.rs` and `src/<room>/` may name its own room and rooms on lower
//! floors; never a room above it, never another on its own floor, and inside `protocol` never another protocol. Test
//! modules obey the same rule. The check reads text, not types: comments and string literals are blanked first, then
//! every `crate::` path is looked at. What would hide a path from it is refused as well: a group behind `crate::`, and
//! `super` chains that leave the room.
//!
//! Each rule is a function from a file's name and text to violations, so that the tests below can show made-up files to
//! it: a checker that cannot fail checks nothing. Absent: anything rustfmt, clippy or rustc already says.

use std::fmt;
use std::fs;
use std::path::Path;

/// The rooms and their floors, lowest first. Every room in `src/` is listed, and nothing else.
const FLOORS: [(&str, usize); 15] = [
    ("base", 0),
    ("batch", 1),
    ("runtime", 1),
    ("storage", 2),
    ("broker", 3),
    ("shard", 4),
    ("protocol", 5),
    ("server", 6),
    ("client", 6),
    ("bench", 7),
    ("proof", 7),
    ("fuzzing", 8),
    ("cli", 8),
    ("sim", 8),
    ("bin", 9),
];

/// Rooms inside `protocol` that every protocol may use.
const SHARED_BY_PROTOCOLS: [&str; 3] = ["delivery", "door", "memory"];

/// Crates that only `src/runtime` may name: swapping the runtime must stay one room's work.
const RUNTIME_CRATES: [&str; 2] = ["glommio", "io_uring"];

/// Rooms whose files a simulated broker runs: they reach the file system through `runtime`, or the simulator's disk would not
/// know of it.
const SIMULATED: [&str; 3] = ["storage", "broker", "shard"];

/// What they may not say before their tests begin.
const FILE_CALLS: [&str; 5] = ["std::fs", "rustix::fs", ".is_dir(", ".is_file(", ".exists("];

/// Words and paths that no file may contain. Written in halves, or this file would.
const BANNED_TEXT: [(&str, &str); 5] = [
    (
        concat!("FIX", "ME"),
        "finish it, or say in a comment what is absent and why",
    ),
    (
        concat!("TO", "DO"),
        "finish it, or say in a comment what is absent and why",
    ),
    (concat!("#[ign", "ore"), "a test that does not run proves nothing"),
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
];

/// Macros that stand for code that is not there.
const BANNED_MACROS: [&str; 2] = ["todo", "unimplemented"];

/// Directories that hold no source of ours.
const NOT_OURS: [&str; 4] = ["target", ".git", "corelog-data", "__pycache__"];

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    list(root, root, &mut files);
    assert!(files.len() > FLOORS.len(), "found only {files:?}");
    let mut found = unlisted_rooms(&files);
    for file in &files {
        let bytes = fs::read(root.join(file)).expect("a file that was just listed can be read");
        found.extend(violations(file, &String::from_utf8_lossy(&bytes)));
    }
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// Something a rule refuses.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Every rule over one file; `file` is relative to the package and uses `/`.
fn violations(file: &str, text: &str) -> Vec<Violation> {
    let mut found = banned_text(file, text);
    if has_extension(file, "rs") {
        let code = without_comments_and_strings(text);
        found.extend(shape(file, text));
        found.extend(banned_macros(file, &code));
        if let Some(place) = Place::of(file) {
            found.extend(floors(file, place, &code));
            found.extend(hidden_paths(file, place, &code));
            found.extend(runtime_crates(file, place, &code));
            found.extend(file_calls(file, place, &code));
        }
    }
    found
}

/// Where a source file lives: its room, and how many modules lie between it and the crate's root.
#[derive(Clone, Copy)]
struct Place<'a> {
    room: &'a str,
    subroom: Option<&'a str>,
    depth: usize,
}

impl<'a> Place<'a> {
    fn of(file: &'a str) -> Option<Self> {
        let path = file.strip_prefix("src/")?.strip_suffix(".rs")?;
        let mut names = path.split('/');
        let room = names.next().filter(|room| *room != "lib")?;
        Some(Self {
            room,
            subroom: names.next(),
            depth: path.split('/').count(),
        })
    }
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == room)
        .map(|(_, floor)| *floor)
}

fn floors(file: &str, place: Place<'_>, code: &str) -> Vec<Violation> {
    let Some(floor) = floor_of(place.room) else {
        return Vec::new();
    };
    let root = if place.room == "bin" {
        "corelog::"
    } else {
        "crate::"
    };
    let mut found = Vec::new();
    for (number, line) in numbered(code) {
        for path in paths_behind(line, root) {
            let mut names = path.split("::");
            let target = names.next().unwrap_or_default();
            let other_protocol = target == place.room
                && place.room == "protocol"
                && names
                    .next()
                    .is_some_and(|name| Some(name) != place.subroom && !SHARED_BY_PROTOCOLS.contains(&name));
            let allowed = target == place.room || floor_of(target).is_some_and(|below| below < floor);
            if !allowed || other_protocol {
                found.push(Violation {
                    file: file.to_owned(),
                    line: number,
                    what: format!(
                        "{} (floor {floor}) may not use {root}{path}; rooms use lower floors only",
                        place.room
                    ),
                });
            }
        }
    }
    found
}

/// The paths that follow `root` on a line: names and `::` up to whatever ends them.
fn paths_behind<'a>(line: &'a str, root: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(root)
        .filter(|(at, _)| !line[..*at].ends_with(is_name))
        .map(move |(at, _)| {
            let rest = &line[at + root.len()..];
            let end = rest.find(|c: char| !is_name(c) && c != ':').unwrap_or(rest.len());
            rest[..end].trim_end_matches(':')
        })
        .filter(|path| !path.is_empty())
}

fn hidden_paths(file: &str, place: Place<'_>, code: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut refuse = |line: usize, what: &str| {
        found.push(Violation {
            file: file.to_owned(),
            line,
            what: what.to_owned(),
        });
    };
    // Indentations of the inline modules that are open; rustfmt closes each at the column where it began.
    let mut modules: Vec<usize> = Vec::new();
    for (number, line) in numbered(code) {
        let indent = line.len() - line.trim_start().len();
        if line.trim_end() == format!("{}}}", " ".repeat(indent)) && modules.last() == Some(&indent) {
            modules.pop();
        }
        for hidden in ["crate::{", "crate::*"] {
            if line.contains(hidden) {
                refuse(
                    number,
                    "one `use` a room: a group behind `crate::` hides what is imported",
                );
            }
        }
        let supers = longest_super_chain(line);
        if supers > 0 && supers >= place.depth + modules.len() {
            refuse(number, "`super` leaves the room: write the path from `crate::`");
        }
        if line.trim_end().ends_with('{') && words(line).any(|word| word == "mod") {
            modules.push(indent);
        }
    }
    found
}

/// `super::super::x` counts two.
fn longest_super_chain(line: &str) -> usize {
    let (mut longest, mut current, mut rest) = (0, 0, line);
    while let Some(at) = rest.find("super::") {
        current = if at == 0 { current + 1 } else { 1 };
        longest = longest.max(current);
        rest = &rest[at + "super::".len()..];
    }
    longest
}

fn runtime_crates(file: &str, place: Place<'_>, code: &str) -> Vec<Violation> {
    if place.room == "runtime" {
        return Vec::new();
    }
    let named = |line: &str| {
        words(line)
            .find(|word| RUNTIME_CRATES.contains(word))
            .map(str::to_owned)
    };
    numbered(code)
        .filter_map(|(line, text)| Some((line, named(text)?)))
        .map(|(line, name)| Violation {
            file: file.to_owned(),
            line,
            what: format!("{name} is named only inside src/runtime"),
        })
        .collect()
}

fn file_calls(file: &str, place: Place<'_>, code: &str) -> Vec<Violation> {
    let simulated =
        SIMULATED.contains(&place.room) || file == "src/server/catalog.rs" || file == "src/server/control.rs";
    let of_tests = ["tests.rs", "testing.rs", "formats.rs"]
        .iter()
        .any(|name| file.ends_with(name));
    if !simulated || of_tests {
        return Vec::new();
    }
    numbered(code)
        .take_while(|(_, text)| !text.contains("mod tests {"))
        .filter_map(|(line, text)| Some((line, FILE_CALLS.into_iter().find(|call| text.contains(call))?)))
        .map(|(line, call)| Violation {
            file: file.to_owned(),
            line,
            what: format!("{call} goes past runtime::fs, and so past the simulated disk"),
        })
        .collect()
}

fn banned_text(file: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, content) in numbered(text) {
        for (banned, why) in BANNED_TEXT {
            if content.contains(banned) {
                found.push(Violation {
                    file: file.to_owned(),
                    line,
                    what: format!("contains {banned}: {why}"),
                });
            }
        }
    }
    found
}

fn banned_macros(file: &str, code: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, content) in numbered(code) {
        for name in BANNED_MACROS {
            let called = content
                .match_indices(&format!("{name}!"))
                .any(|(at, _)| !content[..at].ends_with(is_name));
            if called {
                found.push(Violation {
                    file: file.to_owned(),
                    line,
                    what: format!("{name}! stands for code that is not there"),
                });
            }
        }
    }
    found
}

/// Names and openings of source files.
fn shape(file: &str, text: &str) -> Vec<Violation> {
    let refuse = |what: &str| Violation {
        file: file.to_owned(),
        line: 1,
        what: what.to_owned(),
    };
    let mut found = Vec::new();
    if file.ends_with("/mod.rs") {
        found.push(refuse("a room's door is x.rs beside x/, never mod.rs"));
    }
    // The library's essay is ARCHITECTURE.md.
    if !text.starts_with("//!") && !text.starts_with("#![doc = include_str!(") {
        found.push(refuse("opens without its essay (//!)"));
    }
    found
}

/// Rooms in `src/` that have no floor, and floors whose room is gone.
fn unlisted_rooms(files: &[String]) -> Vec<Violation> {
    let rooms: Vec<&str> = files
        .iter()
        .filter_map(|file| Some(Place::of(file)?.room))
        .collect();
    let mut found = Vec::new();
    for file in files {
        if let Some(place) = Place::of(file).filter(|place| floor_of(place.room).is_none()) {
            found.push(Violation {
                file: file.clone(),
                line: 1,
                what: format!("room {} has no floor in tests/tidy.rs", place.room),
            });
        }
    }
    for (room, _) in FLOORS.iter().filter(|(room, _)| !rooms.contains(room)) {
        found.push(Violation {
            file: "tests/tidy.rs".to_owned(),
            line: 1,
            what: format!("FLOORS names the room {room}, which does not exist"),
        });
    }
    found
}

/// Source text with the insides of comments, strings and characters made blank; lines keep their numbers and columns.
fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_name = out.ends_with(is_name);
        let len = literal_or_comment(rest, after_name);
        if len == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..len].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[len..];
        }
    }
    out
}

/// Bytes of the comment or literal that `text` starts with, 0 if it starts with neither.
fn literal_or_comment(text: &str, after_name: bool) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if let Some(inside) = text.strip_prefix('"') {
        return 1 + quoted(inside, '"');
    }
    if text.starts_with('\'') {
        return character(text);
    }
    if !after_name && text.starts_with('r') {
        return raw_string(text);
    }
    0
}

fn block_comment(text: &str) -> usize {
    let (mut open, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (open, at) = (open + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (open, at) = (open - 1, at + 2);
        } else {
            at += 1;
        }
        if open == 0 {
            return at;
        }
    }
    text.len()
}

/// Bytes up to and with the closing `end`, which a backslash hides.
fn quoted(text: &str, end: char) -> usize {
    let mut hidden = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if hidden => hidden = false,
            '\\' => hidden = true,
            c if c == end => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// `'x'` and `'\n'` are characters; `'a` in `&'a str` is a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text[1..].chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => 1 + quoted(&text[1..], '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

fn raw_string(text: &str) -> usize {
    let hashes = text[1..].len() - text[1..].trim_start_matches('#').len();
    let open = 1 + hashes;
    if !text[open..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..]
        .find(&close)
        .map_or(text.len(), |at| open + 1 + at + close.len())
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !is_name(c))
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file)
        .extension()
        .is_some_and(|found| found == extension)
}

fn list(root: &Path, directory: &Path, files: &mut Vec<String>) {
    let entries = fs::read_dir(directory).expect("the package's directories can be listed");
    for entry in entries {
        let path = entry.expect("the package's directories can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if NOT_OURS.contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            list(root, &path, files);
        } else {
            let relative = path.strip_prefix(root).expect("listed from the root");
            files.push(relative.to_string_lossy().into_owned());
        }
    }
}

/// Lines that break a rule, with the beginning of what is said about each.
fn check(file: &str, text: &str, expected: &[(usize, &str)]) {
    let found = violations(file, text);
    let lines: Vec<usize> = found.iter().map(|violation| violation.line).collect();
    let wanted: Vec<usize> = expected.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, wanted, "{found:#?}");
    for (violation, (_, what)) in found.iter().zip(expected) {
        assert!(violation.what.contains(what), "{violation} does not say {what}");
        assert_eq!(violation.file, file);
    }
}

#[test]
fn a_room_uses_lower_floors_only() {
    let text =
        "//! Essay.\nuse crate::base::Offset;\nuse crate::server::Config;\nuse crate::batch::BatchHeader;\n";
    check("src/storage/log.rs", text, &[(3, "crate::server::Config")]);
    check("src/cli.rs", text, &[]);
    check(
        "src/base/ids.rs",
        text,
        &[(3, "base (floor 0)"), (4, "base (floor 0)")],
    );
}

#[test]
fn rooms_on_one_floor_do_not_meet() {
    let text = "//! Essay.\nfn f() -> crate::runtime::clock::Clock {}\n";
    check("src/batch/header.rs", text, &[(2, "batch (floor 1)")]);
    check("src/runtime/clock.rs", text, &[]);
}

#[test]
fn protocols_do_not_meet() {
    let text = "//! Essay.\nuse crate::protocol::kafka::errors;\n";
    check("src/protocol/native/session.rs", text, &[(2, "protocol::kafka")]);
    check("src/protocol/kafka/session.rs", text, &[]);
}

#[test]
fn the_program_uses_the_library_by_its_name() {
    let text = "//! Essay.\nfn main() { corelog::cli::run() }\n";
    check("src/bin/corelog.rs", text, &[]);
    check(
        "src/bin/corelog.rs",
        "//! E\nuse corelog::nowhere::X;\n",
        &[(2, "nowhere")],
    );
}

#[test]
fn paths_cannot_hide() {
    let group = "//! Essay.\nuse crate::{base::Offset, server::Config};\n";
    check("src/storage/log.rs", group, &[(2, "one `use` a room")]);
    let climbing = "//! Essay.\nuse super::super::server::Config;\nuse super::error::Error;\n";
    check("src/storage/log.rs", climbing, &[(2, "leaves the room")]);
    check("src/storage/log/tail.rs", climbing, &[]);
    let nested = "//! Essay.\nmod tests {\n    use super::*;\n}\nuse super::server;\n";
    check("src/storage.rs", nested, &[(5, "leaves the room")]);
}

#[test]
fn comments_and_strings_are_not_code() {
    let text = concat!(
        "//! Above: [`crate::server`].\n",
        "/* crate::cli /* glommio */ crate::cli */ const A: &str = \"crate::cli \\\" io_uring\";\n",
        "const B: &str = r#\"crate::cli \" glommio\"#; const C: char = '\"'; fn d<'a>() {}\n",
        "use crate::server::Config; // crate::cli\n",
    );
    check("src/storage/log.rs", text, &[(4, "crate::server::Config")]);
}

#[test]
fn the_runtime_is_named_in_its_room_only() {
    let text =
        "//! Essay.\nuse glommio::Task;\nlet x = io_uring::IoUring::new(8);\nlet io_uring_setup = 1;\n";
    check("src/shard/writer.rs", text, &[(2, "glommio"), (3, "io_uring")]);
    check("src/runtime/disk.rs", text, &[]);
}

#[test]
fn nothing_is_left_for_later() {
    let text = format!(
        "//! Essay.\n// {}: more\n{}]\nfn f() {{ {}!() }}\n",
        BANNED_TEXT[0].0, BANNED_TEXT[2].0, BANNED_MACROS[0]
    );
    check(
        "benches/append.rs",
        &text,
        &[(2, "finish it"), (3, "does not run"), (4, "not there")],
    );
}

#[test]
fn files_say_nothing_about_a_machine() {
    let text = format!("see {}corelog\n{}.cargo\n", BANNED_TEXT[3].0, BANNED_TEXT[4].0);
    check("README.md", &text, &[(1, "one machine"), (2, "one machine")]);
}

#[test]
fn files_open_with_their_essay() {
    check("src/base/ids.rs", "use std::fmt;\n", &[(1, "essay")]);
    check("src/base/mod.rs", "//! Essay.\n", &[(1, "mod.rs")]);
}

#[test]
fn every_room_has_a_floor() {
    let mut files: Vec<String> = FLOORS.iter().map(|(room, _)| format!("src/{room}.rs")).collect();
    files.push("src/lib.rs".to_owned());
    assert_eq!(unlisted_rooms(&files), []);
    files[3] = "src/attic/box.rs".to_owned();
    let lines: Vec<String> = unlisted_rooms(&files).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "src/attic/box.rs:1: room attic has no floor in tests/tidy.rs",
            "tests/tidy.rs:1: FLOORS names the room storage, which does not exist",
        ]
    );
}

//! The judge that looks inside: after every step the state of every shard is in order.
//!
//! `start <= durable <= visible <= next`; nothing but a relaxed log shows what is not durable; durable and visible ends never
//! go back while a broker runs, and after a crash what was durable still is; epochs never go back; no budget is overdrawn.

use std::cell::RefCell;
use std::rc::Rc;

use super::book::Book;
use super::history::Rule;
use crate::base::hash::HashMap;
use crate::base::{LeaderEpoch, LogId, Offset};
use crate::shard::Shard;
use crate::shard::audit::LogState;

/// The shards of the broker that runs, if one does.
pub(super) type Shards = Rc<RefCell<Vec<Rc<Shard>>>>;

/// What was true of a log when it was looked at last.
#[derive(Clone, Copy, Debug)]
struct Before {
    start: Offset,
    durable: Offset,
    visible: Offset,
    epoch: LeaderEpoch,
    /// It has been relaxed, so a crash may take from it.
    relaxed: bool,
    damaged: bool,
    /// Which run of the broker it was.
    run: u32,
}

/// See the module.
pub(super) struct Auditor {
    book: Rc<Book>,
    shards: Shards,
    run: Rc<std::cell::Cell<u32>>,
    before: HashMap<LogId, Before>,
}

impl Auditor {
    pub(super) fn new(book: &Rc<Book>, shards: &Shards, run: &Rc<std::cell::Cell<u32>>) -> Self {
        Self {
            book: Rc::clone(book),
            shards: Rc::clone(shards),
            run: Rc::clone(run),
            before: HashMap::default(),
        }
    }

    /// Looks at everything.
    pub(super) fn look(&mut self) {
        let run = self.run.get();
        for shard in self.shards.borrow().iter() {
            shard.audit(|log| {
                let before = self.before.get(&log.id).copied();
                if let Err(what) = in_order(&log, before.as_ref(), run) {
                    let id = shard.id();
                    self.book.break_rule(
                        Rule::StateInOrder,
                        format!("shard {id}: {what}: {log:?}, before {before:?}"),
                    );
                }
                let now = Before {
                    start: log.start,
                    durable: log.durable,
                    visible: log.visible,
                    epoch: log.epoch,
                    relaxed: !log.durable_mode || before.is_some_and(|before| before.relaxed),
                    damaged: log.damaged,
                    run,
                };
                self.before.insert(log.id, now);
            });
            for (name, used, limit) in shard.audit_memory() {
                if used > limit {
                    let what = format!("shard {}: {used} bytes of {limit} for {name}", shard.id());
                    self.book.break_rule(Rule::StateInOrder, what);
                }
            }
        }
    }
}

fn in_order(log: &LogState, before: Option<&Before>, run: u32) -> Result<(), &'static str> {
    let ok = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    ok(log.start <= log.durable, "the start is behind the durable end")?;
    ok(
        log.durable <= log.visible,
        "the durable end is behind the visible one",
    )?;
    ok(
        log.visible <= log.next,
        "the visible end is behind the last record",
    )?;
    let Some(before) = before else {
        return Ok(());
    };
    let relaxed = before.relaxed || !log.durable_mode;
    ok(
        relaxed || log.visible == log.durable,
        "what is not durable is visible",
    )?;
    if before.run == run {
        ok(before.start <= log.start, "the start went back")?;
        ok(before.durable <= log.durable, "the durable end went back")?;
        ok(before.visible <= log.visible, "the visible end went back")?;
        ok(
            before.epoch == log.epoch,
            "the epoch changed while the broker ran",
        )?;
        return Ok(());
    }
    let damaged = log.damaged || before.damaged;
    ok(before.epoch <= log.epoch, "the epoch went back")?;
    ok(
        before.durable <= log.durable || relaxed || damaged,
        "what was durable is gone",
    )?;
    ok(
        before.start <= log.start || relaxed || damaged,
        "the start went back over a restart",
    )
}

//! Moving the start of a log forward because a client says so (DeleteRecords) or retention does, and the checkpoint file that
//! remembers it.
//!
//! **Promise.** When a trim is answered, no reader gets a record below the new start, now or after a crash: the checkpoint
//! is durable before the start moves and before any file is removed. The start never passes the high watermark, and never
//! a record that a crash could still take away.
//!
//! Who removes or replaces files of a partition holds its `upkeep`; who writes its checkpoint holds `checkpointing`. A
//! trim waits for the second only: files that the cleaner is busy with are left to the next round of retention.

use super::Shard;
use super::partition::Partition;
use super::request::TrimError;
use crate::base::{LogId, Offset};
use crate::runtime::disk::OpenMode;
use crate::runtime::executor;
use crate::storage::layout::CHECKPOINT_NAME;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Pause before looking again whether a relaxed log is durable far enough.
const DURABLE_POLL: Duration = Duration::from_millis(2);

impl Shard {
    /// Trims logs of this shard, each to its offset or, without one, to its high watermark. Gives where each starts now.
    pub(crate) async fn trim_parts(
        self: &Rc<Self>,
        parts: Vec<(LogId, Option<Offset>)>,
    ) -> Vec<Result<Offset, TrimError>> {
        let mut done = Vec::with_capacity(parts.len());
        for (log, to) in parts {
            done.push(self.trim_one(log, to).await);
        }
        done
    }

    async fn trim_one(self: &Rc<Self>, log: LogId, to: Option<Offset>) -> Result<Offset, TrimError> {
        let partition = self
            .partition(log)
            .filter(|partition| !partition.closed.get())
            .ok_or(TrimError::UnknownPartition)?;
        if !partition.topic.borrow().settings.cleanup.deletes() {
            return Err(TrimError::Policy);
        }
        let to = {
            let log = partition.log.borrow();
            let to = to.unwrap_or_else(|| log.visible());
            if to > log.visible() {
                return Err(TrimError::OutOfRange);
            }
            to
        };
        self.durable_to(&partition, to).await?;
        if to > partition.log.borrow().start() {
            self.move_start(&partition, to).await?;
        }
        if let Some(_files) = partition.upkeep.try_acquire(1) {
            self.remove_below_start(&partition).await;
        }
        Ok(partition.log.borrow().start())
    }

    /// Moves the start of a log to `to`, for ever once this returns.
    pub(crate) async fn move_start(&self, partition: &Partition, to: Offset) -> Result<(), TrimError> {
        let _writing = partition.checkpointing.acquire(1).await;
        if partition.closed.get() {
            return Err(TrimError::UnknownPartition);
        }
        self.write_checkpoint(partition, to).await?;
        partition.log.borrow_mut().start_at(to);
        // Whoever waits behind a record that is gone now is to ask again.
        partition.fire_watchers();
        Ok(())
    }

    /// Waits until a relaxed log is durable up to `to`; a durable one is, as far as it is visible.
    async fn durable_to(self: &Rc<Self>, partition: &Rc<Partition>, to: Offset) -> Result<(), TrimError> {
        while partition.log.borrow().durable() < to {
            if partition.failed.get() || self.sealed.get() {
                return Err(TrimError::Storage);
            }
            self.drive(partition);
            self.drive_sync(partition);
            executor::sleep(DURABLE_POLL).await;
        }
        Ok(())
    }

    /// Writes the checkpoint of a log that is to start at `start`; durable when this returns. The caller holds
    /// `checkpointing`.
    pub(crate) async fn write_checkpoint(
        &self,
        partition: &Partition,
        start: Offset,
    ) -> Result<(), TrimError> {
        let bytes = partition.log.borrow().checkpoint(start).encode();
        self.replace_checkpoint(partition, bytes).await.map_err(|error| {
            self.upkeep_failed("write the checkpoint of", &partition.directory, &error);
            TrimError::Storage
        })
    }

    async fn replace_checkpoint(&self, partition: &Partition, bytes: Vec<u8>) -> io::Result<()> {
        let path = partition.directory.join(CHECKPOINT_NAME);
        let new = path.with_extension("new");
        let file = self.disk.open_direct(&new, OpenMode::BufferedCreate).await?;
        self.disk.write_buffered(&file, 0, bytes.into()).await?;
        self.disk.sync(&file).await?;
        self.disk.rename(&new, &path).await?;
        self.disk.sync_directory(&partition.directory).await
    }

    /// Removes the segments that lie wholly below the start. The caller holds `upkeep`.
    pub(crate) async fn remove_below_start(self: &Rc<Self>, partition: &Rc<Partition>) {
        loop {
            let retired = partition.log.borrow_mut().retire_below_start();
            let Some(retired) = retired else { return };
            self.remove_segment(partition, &retired).await;
        }
    }
}

//! broker
pub mod image;
pub mod placement;
pub mod topic;

//! runtime
pub mod doorbell;
pub mod mesh;
pub mod ring;

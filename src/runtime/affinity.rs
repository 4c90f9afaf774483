//! Which cores this process may use, and pinning a thread to one.

use std::io;

/// The cores in this process's affinity mask, ascending; at least one.
///
/// # Errors
/// When the kernel does not tell.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let mut cores: Vec<usize> = core_affinity::get_core_ids()
        .ok_or_else(|| io::Error::other("the kernel did not report an affinity mask"))?
        .into_iter()
        .map(|core| core.id)
        .collect();
    cores.sort_unstable();
    if cores.is_empty() {
        return Err(io::Error::other("the affinity mask is empty"));
    }
    Ok(cores)
}

/// Pins the calling thread to `core`; says whether the kernel agreed.
#[must_use]
pub fn pin_current(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

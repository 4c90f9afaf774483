//! A kernel that refuses rings: the filter that container runtimes install, for one child process.
//!
//! The filter is four instructions of classic BPF and answers `io_uring_setup` with EPERM; everything else is
//! allowed. It is installed between fork and exec, so nothing but the child ever has it.

#![expect(
    unsafe_code,
    reason = "prctl and code between fork and exec are unsafe by nature"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs `command`'s child under the filter.
pub(crate) fn deny_io_uring(command: &mut Command) {
    // SAFETY: `install` only makes system calls; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(install) };
}

fn install() -> io::Result<()> {
    let op = |code: u32, jump_true, jump_false, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: jump_true,
        jf: jump_false,
        k,
    };
    let refused = u32::try_from(libc::EPERM).unwrap_or(1);
    let number = u32::try_from(libc::SYS_io_uring_setup).unwrap_or(0);
    let mut filter = [
        // The number of the system call is the first word of what a filter sees.
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        op(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | refused,
        ),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: a plain switch of this process.
    let status = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `program` and the instructions it points to live across the call, and the kernel copies them.
    let status = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

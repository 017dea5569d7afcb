//! What crosses the C boundary: views in, buffers out, a status with a sentence. No panic passes it.

use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::panic::{self, catch_unwind, AssertUnwindSafe};
use std::sync::Once;

/// The same numbers as SluiceTextStatus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Status {
    Ok = 0,
    Corrupt = 1,
    Unsupported = 2,
    InvalidArgument = 3,
    Internal = 4,
}

#[derive(Debug)]
pub struct Failure {
    pub status: Status,
    pub message: String,
}

pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub fn corrupt(message: impl fmt::Display) -> Self {
        Self { status: Status::Corrupt, message: message.to_string() }
    }
    pub fn unsupported(message: impl fmt::Display) -> Self {
        Self { status: Status::Unsupported, message: message.to_string() }
    }
    pub fn invalid_argument(message: impl fmt::Display) -> Self {
        Self { status: Status::InvalidArgument, message: message.to_string() }
    }
    pub fn internal(message: impl fmt::Display) -> Self {
        Self { status: Status::Internal, message: message.to_string() }
    }
}

/// Bytes of the caller, alive during the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct View {
    bytes: *const u8,
    size: usize,
}

impl View {
    /// # Safety
    /// `bytes` must be readable for `size` bytes during `'a`.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.size == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(self.bytes, self.size)
        }
    }
    /// Invalid UTF-8 becomes U+FFFD.
    ///
    /// # Safety
    /// As for `bytes`.
    pub unsafe fn text<'a>(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes())
    }
}

/// Bytes of ours, until `sluice_text_free_buffer`.
#[repr(C)]
pub struct Buffer {
    bytes: *mut u8,
    size: usize,
    capacity: usize,
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Self { bytes: bytes.as_mut_ptr(), size: bytes.len(), capacity: bytes.capacity() }
    }
}

/// Token ids of ours, until `sluice_text_free_ids`.
#[repr(C)]
pub struct IdBuffer {
    ids: *mut u32,
    size: usize,
    capacity: usize,
}

impl From<Vec<u32>> for IdBuffer {
    fn from(ids: Vec<u32>) -> Self {
        let mut ids = std::mem::ManuallyDrop::new(ids);
        Self { ids: ids.as_mut_ptr(), size: ids.len(), capacity: ids.capacity() }
    }
}

/// # Safety
/// `buffer` came from this library and is freed once.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_free_buffer(buffer: Buffer) {
    if !buffer.bytes.is_null() {
        drop(Vec::from_raw_parts(buffer.bytes, buffer.size, buffer.capacity));
    }
}

/// # Safety
/// `buffer` came from this library and is freed once.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_free_ids(buffer: IdBuffer) {
    if !buffer.ids.is_null() {
        drop(Vec::from_raw_parts(buffer.ids, buffer.size, buffer.capacity));
    }
}

fn panic_text(panic: Box<dyn Any + Send>) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| text.to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_string())
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A panic of the libraries as a sentence. It becomes the caller's error, so nothing is printed.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let outer = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !INSIDE.get() {
                outer(panic);
            }
        }));
    });
    let before = INSIDE.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(before);
    outcome.map_err(panic_text)
}

/// Runs `work`; what it returns goes to `out`, its failure or panic to `message`.
///
/// # Safety
/// `out` and `message` are writable.
pub unsafe fn answer<T>(out: *mut T, message: *mut Buffer, work: impl FnOnce() -> Outcome<T>) -> i32 {
    let failure = match catch(work) {
        Ok(Ok(value)) => {
            out.write(value);
            return Status::Ok as i32;
        }
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::internal(format!("A text library broke an invariant of its own: {panic}.")),
    };
    message.write(failure.message.into_bytes().into());
    failure.status as i32
}

/// For a handle that is freed: a panic in a destructor must not unwind into C++.
///
/// # Safety
/// `handle` came from `Box::into_raw` and is freed once; null is nothing.
pub unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        let _ = catch(|| drop(Box::from_raw(handle)));
    }
}

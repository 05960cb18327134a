//! Vectorscan (Hyperscan's heir) as a rival, on machines that have its library (`libvectorscan5` of
//! Debian); nothing of it is needed to build.
//!
//! It scans a whole text at once here, which is the faster of its modes; postern carries its state over
//! every cut.

// A bench that binds a C library cannot do without; nothing that serves does it.
#![allow(unsafe_code)]

use libloading::{Library, Symbol};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::ptr;

// hs.h of 5.4: flags of expressions, and modes of databases.
const CASELESS: c_uint = 1;
const SINGLEMATCH: c_uint = 8;
const BLOCK: c_uint = 1;

const FILE: &str = "libhs.so.5";

/// `hs_compile_error_t`.
#[repr(C)]
struct CompileError {
    message: *mut c_char,
    expression: c_int,
}

type CompileLiterals = unsafe extern "C" fn(
    *const *const c_char,
    *const c_uint,
    *const c_uint,
    *const usize,
    c_uint,
    c_uint,
    *const c_void,
    *mut *mut c_void,
    *mut *mut CompileError,
) -> c_int;
type CompileExpressions = unsafe extern "C" fn(
    *const *const c_char,
    *const c_uint,
    *const c_uint,
    c_uint,
    c_uint,
    *const c_void,
    *mut *mut c_void,
    *mut *mut CompileError,
) -> c_int;
type AllocScratch = unsafe extern "C" fn(*const c_void, *mut *mut c_void) -> c_int;
type OnMatch = extern "C" fn(c_uint, c_ulonglong, c_ulonglong, c_uint, *mut c_void) -> c_int;
type Scan = unsafe extern "C" fn(
    *const c_void,
    *const c_char,
    c_uint,
    c_uint,
    *mut c_void,
    OnMatch,
    *mut c_void,
) -> c_int;
type Free = unsafe extern "C" fn(*mut c_void) -> c_int;

/// A database that scans.
pub struct Vectorscan {
    library: Library,
    database: *mut c_void,
    scratch: *mut c_void,
}

impl Vectorscan {
    /// Of literals, which match in either case. `None` where the library is not installed.
    pub fn of_literals(literals: &[Vec<u8>]) -> Option<Vectorscan> {
        let pointers: Vec<_> = literals.iter().map(|one| one.as_ptr().cast::<c_char>()).collect();
        let lengths: Vec<usize> = literals.iter().map(Vec::len).collect();
        let (flags, ids) = numbered(literals.len(), CASELESS);
        let (texts, flags, numbers) = (pointers.as_ptr(), flags.as_ptr(), ids.as_ptr());
        let count = ids.len() as c_uint;
        // SAFETY: the signature is that of hs.h, all lists have as many entries as is said, and what
        // they point to lives until the call returns.
        Vectorscan::compiled(|library, database, error| unsafe {
            let compile: Symbol<CompileLiterals> =
                library.get(b"hs_compile_lit_multi").expect("it is in 5.4");
            let lengths = lengths.as_ptr();
            compile(texts, flags, numbers, lengths, count, BLOCK, ptr::null(), database, error)
        })
    }

    /// Of expressions, of each of which the first match is told.
    pub fn of_expressions(expressions: &[String]) -> Option<Vectorscan> {
        let texts: Vec<CString> = expressions
            .iter()
            .map(|one| CString::new(one.as_str()).expect("no zero in an expression"))
            .collect();
        let pointers: Vec<_> = texts.iter().map(|one| one.as_ptr()).collect();
        let (flags, ids) = numbered(texts.len(), SINGLEMATCH);
        let (texts, flags, numbers) = (pointers.as_ptr(), flags.as_ptr(), ids.as_ptr());
        let count = ids.len() as c_uint;
        // SAFETY: as above.
        Vectorscan::compiled(|library, database, error| unsafe {
            let compile: Symbol<CompileExpressions> =
                library.get(b"hs_compile_multi").expect("it is in 5.4");
            compile(texts, flags, numbers, count, BLOCK, ptr::null(), database, error)
        })
    }

    /// What `compile` makes: it is given where the database goes, and where the error does if it
    /// returns that there is one.
    fn compiled(
        compile: impl FnOnce(&Library, *mut *mut c_void, *mut *mut CompileError) -> c_int,
    ) -> Option<Vectorscan> {
        // SAFETY: what it does when it is loaded is what C++ libraries do.
        let library = unsafe { Library::new(FILE) }.ok()?;
        let (mut database, mut error) = (ptr::null_mut(), ptr::null_mut());
        let failed = compile(&library, &raw mut database, &raw mut error);
        // SAFETY: the error is there if the compilation has failed.
        assert!(failed == 0, "{}", unsafe { reason(error) });
        let mut scratch = ptr::null_mut();
        // SAFETY: the signature is that of hs.h, and the database was just compiled.
        let failed = unsafe {
            let alloc: Symbol<AllocScratch> =
                library.get(b"hs_alloc_scratch").expect("it is in 5.4");
            alloc(database, &raw mut scratch)
        };
        assert_eq!(failed, 0, "no scratch");
        Some(Vectorscan { library, database, scratch })
    }

    /// How many matches a text has.
    pub fn matches_in(&self, text: &[u8]) -> usize {
        extern "C" fn count(
            _: c_uint,
            _: c_ulonglong,
            _: c_ulonglong,
            _: c_uint,
            matches: *mut c_void,
        ) -> c_int {
            // SAFETY: it is the counter of the scan that calls this, which nobody else uses.
            unsafe { *matches.cast::<usize>() += 1 };
            0
        }
        let mut matches = 0usize;
        // SAFETY: database and scratch live as long as this, the text longer than the call.
        let failed = unsafe {
            let scan: Symbol<Scan> = self.library.get(b"hs_scan").expect("it is in 5.4");
            let length = c_uint::try_from(text.len()).expect("a message");
            let context = (&raw mut matches).cast();
            scan(self.database, text.as_ptr().cast(), length, 0, self.scratch, count, context)
        };
        assert_eq!(failed, 0, "it has not scanned");
        matches
    }
}

impl Drop for Vectorscan {
    fn drop(&mut self) {
        // SAFETY: both were made by the library, and are used no more.
        unsafe {
            let free: Symbol<Free> = self.library.get(b"hs_free_scratch").expect("it is in 5.4");
            free(self.scratch);
            let free: Symbol<Free> = self.library.get(b"hs_free_database").expect("it is in 5.4");
            free(self.database);
        }
    }
}

/// The same flags for so many, which are numbered.
fn numbered(count: usize, flags: c_uint) -> (Vec<c_uint>, Vec<c_uint>) {
    (vec![flags; count], (0..count as c_uint).collect())
}

/// Why nothing was compiled.
///
/// # Safety
/// The error is one of the library's.
unsafe fn reason(error: *const CompileError) -> String {
    // SAFETY: it is there if a compilation has failed, and its message ends with a zero.
    unsafe { CStr::from_ptr((*error).message).to_string_lossy().into_owned() }
}

//! The threads that write Maildirs: a shard never waits for a disk.
//!
//! A copy is durable before it is told: the file is written and synced in `tmp`, renamed into `new`,
//! and the folder is synced. A crash before the rename leaves a file in `tmp`, which readers of
//! Maildirs remove after a while; it leaves no half message in `new`.

use super::mailbox::{Letter, Mailbox};
use crate::limits::STORE_THREADS;
use crate::relay::{Outcome, StoreJob};
use crate::wire::replies;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// The way to the store threads. They end when the last copy of it is gone.
#[derive(Clone, Debug)]
pub(super) struct Stores {
    jobs: mpsc::Sender<(StoreJob, Mailbox)>,
}

impl Stores {
    /// Starts the threads.
    pub fn start() -> io::Result<Stores> {
        let (jobs, queue) = mpsc::channel::<(StoreJob, Mailbox)>();
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..STORE_THREADS {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("postern-store-{number}"))
                .spawn(move || work(&queue))?;
        }
        Ok(Stores { jobs })
    }

    /// Hands a job over; the answer comes into `mailbox`.
    pub fn submit(&self, job: StoreJob, mailbox: Mailbox) {
        if let Err(mpsc::SendError((job, mailbox))) = self.jobs.send((job, mailbox)) {
            // The threads are gone: a panic in one of them has said why.
            let outcomes = job.failed(&replies::LOCAL_FAULT);
            mailbox.post(Letter::Stored(Box::new(job), outcomes));
        }
    }
}

fn work(queue: &Mutex<mpsc::Receiver<(StoreJob, Mailbox)>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((job, mailbox)) = job else { return };
        let outcomes = store(&job);
        mailbox.post(Letter::Stored(Box::new(job), outcomes));
    }
}

/// Stores a copy for each recipient of a job.
fn store(job: &StoreJob) -> Vec<Outcome> {
    let copy = |recipient: &usize| match store_copy(job, *recipient) {
        Ok(()) => Outcome::Delivered,
        Err(error) => {
            eprintln!("postern: cannot store in {}: {error}", job.maildir(*recipient).display());
            Outcome::Failed(reply_for(&error))
        }
    };
    job.recipients.iter().map(copy).collect()
}

/// A full disk is the mailbox's trouble for now, anything else ours; both pass.
fn reply_for(error: &io::Error) -> crate::wire::Reply {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => replies::NO_ROOM_NOW,
        _ => replies::LOCAL_FAULT,
    }
}

fn store_copy(job: &StoreJob, recipient: usize) -> io::Result<()> {
    let maildir = job.maildir(recipient);
    for folder in ["tmp", "new", "cur"] {
        create_durably(&maildir.join(folder))?;
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = format!("{seconds}.{}-{recipient}.postern", job.id);
    let (draft, place) = (maildir.join("tmp").join(&name), maildir.join("new").join(&name));
    let written = write_durably(job, recipient, &draft).and_then(|()| fs::rename(&draft, &place));
    if written.is_err() {
        // The draft is of no use; that it could not be removed either changes nothing.
        let _ = fs::remove_file(&draft);
    }
    written?;
    sync_folder(&maildir.join("new"))
}

fn write_durably(job: &StoreJob, recipient: usize, draft: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(OpenOptions::new().write(true).create_new(true).open(draft)?);
    job.write(recipient, &mut file)?;
    file.flush()?;
    file.get_ref().sync_all()
}

/// Makes a folder and those above it; each new name is synced into the folder that holds it.
fn create_durably(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        create_durably(above)?;
    }
    match fs::create_dir(folder) {
        // Another thread was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    sync_folder(above.unwrap_or(Path::new(".")))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

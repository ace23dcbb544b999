//! Virtual time throughout; the disk is a temporary directory.

use super::*;
use crate::report::status::ContextKind;
use jiff::SignedDuration;
use std::fs;

/// A host that answers as told, and remembers what it took.
#[derive(Default)]
struct Host {
    answers: Mutex<VecDeque<Result<(), SendError>>>,
    took: Mutex<Vec<Note>>,
    calls: Mutex<usize>,
}

impl Host {
    fn answering(answers: impl IntoIterator<Item = Result<(), SendError>>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }

    fn took(&self) -> Vec<String> {
        self.took.lock().unwrap().iter().map(|note| note.description.clone()).collect()
    }

    fn calls(&self) -> usize {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl Reporter for Host {
    fn name(&self) -> &str {
        "test"
    }

    fn send(&self, note: &Note) -> Result<(), SendError> {
        *self.calls.lock().unwrap() += 1;
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(()));
        if answer.is_ok() {
            self.took.lock().unwrap().push(note.clone());
        }
        answer
    }
}

fn down() -> Result<(), SendError> {
    Err(SendError::transient("connection refused"))
}

fn note(n: usize, kind: ContextKind, state: State, description: &str) -> Note {
    let revision = Revision::parse(&format!("{n:040x}")).unwrap();
    Note::new(Timestamp::UNIX_EPOCH, &revision, &Context::new("driftless", kind), state, description)
}

fn sync(n: usize, state: State, description: &str) -> Note {
    note(n, ContextKind::Sync, state, description)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn in_order_and_only_once() {
    let outbox = Outbox::in_memory(100);
    for description in ["a", "a", "b"] {
        outbox.enqueue(sync(1, State::Pending, description)).unwrap();
    }
    outbox.enqueue(sync(2, State::Pending, "c")).unwrap();
    outbox.enqueue(sync(1, State::Success, "d")).unwrap();
    let host = Host::default();
    let pass = outbox.send_due(&host, at(0), 0.5);
    assert_eq!((pass.sent, pass.next), (4, None));
    assert_eq!(host.took(), ["a", "b", "c", "d"]);
    assert!(outbox.is_empty());
}

#[test]
fn a_host_that_is_down_gets_everything_later_in_order() {
    let outbox = Outbox::in_memory(100);
    for n in 0..20 {
        outbox.enqueue(sync(n, State::Pending, &format!("p{n}"))).unwrap();
        outbox.enqueue(sync(n, State::Success, &format!("s{n}"))).unwrap();
    }
    let host = Host::answering(std::iter::repeat_with(down).take(6));
    let mut now = at(0);
    let mut waits = Vec::new();
    while !outbox.is_empty() {
        let pass = outbox.send_due(&host, now, 1.0);
        assert!(host.calls() <= HOST_DOWN || pass.sent > 0, "a host that is down is not asked for every note");
        let Some(next) = pass.next else { break };
        waits.push(next.duration_since(now).as_secs());
        now = next;
        assert_eq!(outbox.send_due(&host, now.checked_sub(SignedDuration::from_millis(1)).unwrap(), 1.0).sent, 0);
        assert_eq!(host.calls(), 0, "nothing is sent early");
    }
    assert_eq!(waits, [2, 4, 8]);
    let took = host.took();
    assert_eq!(took.len(), 40);
    for n in 0..20 {
        let place = |text: String| took.iter().position(|took| *took == text).unwrap();
        assert!(place(format!("p{n}")) < place(format!("s{n}")));
    }
}

#[test]
fn one_note_in_trouble_does_not_hold_up_the_others() {
    let outbox = Outbox::in_memory(100);
    outbox.enqueue(sync(1, State::Pending, "p1")).unwrap();
    outbox.enqueue(sync(1, State::Success, "s1")).unwrap();
    outbox.enqueue(sync(2, State::Pending, "p2")).unwrap();
    let host = Host::answering([down()]);
    let pass = outbox.send_due(&host, at(0), 1.0);
    assert_eq!((host.took(), pass.next), (vec!["p2".to_owned()], Some(at(2))));
    outbox.send_due(&host, at(2), 1.0);
    assert_eq!(host.took(), ["p2", "p1", "s1"]);
}

#[test]
fn a_rate_limit_silences_everything_for_as_long_as_it_says() {
    let outbox = Outbox::in_memory(100);
    outbox.enqueue(sync(1, State::Pending, "a")).unwrap();
    outbox.enqueue(sync(2, State::Pending, "b")).unwrap();
    let limited = SendError::transient("slow down").after(Duration::from_secs(90));
    let host = Host::answering([Err(limited)]);
    let pass = outbox.send_due(&host, at(0), 1.0);
    assert_eq!((pass.sent, pass.next, host.calls()), (0, Some(at(90)), 1));
    assert_eq!((outbox.send_due(&host, at(89), 1.0).sent, host.calls()), (0, 0));
    assert_eq!(outbox.send_due(&host, at(90), 1.0).sent, 2);
}

#[test]
fn what_is_never_taken_is_handed_back() {
    let outbox = Outbox::in_memory(100);
    outbox.enqueue(sync(1, State::Pending, "a")).unwrap();
    let host = Host::answering([Err(SendError::permanent("no such commit"))]);
    let pass = outbox.send_due(&host, at(0), 1.0);
    assert_eq!((pass.refused.len(), pass.next, outbox.len()), (1, None, 0));
}

#[test]
fn a_full_queue_gives_up_what_something_newer_says() {
    let outbox = Outbox::in_memory(4);
    outbox.enqueue(sync(1, State::Pending, "p")).unwrap();
    outbox.enqueue(note(1, ContextKind::Health, State::Failure, "h1")).unwrap();
    outbox.enqueue(note(1, ContextKind::Health, State::Success, "h2")).unwrap();
    outbox.enqueue(sync(1, State::Success, "s")).unwrap();
    outbox.enqueue(note(1, ContextKind::Health, State::Failure, "h3")).unwrap();
    let left = || outbox.waiting().into_iter().map(|note| note.description).collect::<Vec<_>>();
    assert_eq!(left(), ["p", "h2", "s", "h3"]);
    outbox.enqueue(sync(2, State::Pending, "q")).unwrap();
    outbox.enqueue(sync(3, State::Pending, "r")).unwrap();
    assert_eq!(left(), ["s", "h3", "q", "r"]);
    assert_eq!(outbox.given_up(), 3);
}

/// Opened again in the process that just closed it. A child that another test forked at that moment has the lock too, until
/// it has become another program.
fn reopened(dir: &Path) -> Outbox {
    for _ in 0..100 {
        match Outbox::open(dir, 100) {
            Err(OutboxError::InUse(_)) => std::thread::sleep(Duration::from_millis(20)),
            opened => return opened.unwrap(),
        }
    }
    panic!("{} stays in use", dir.display())
}

#[test]
fn it_survives_the_process_torn_files_and_half_written_ones() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path(), 100).unwrap();
    assert!(matches!(Outbox::open(dir.path(), 100), Err(OutboxError::InUse(_))));
    for (n, word) in ["a", "b", "c", "d"].iter().enumerate() {
        outbox.enqueue(sync(n, State::Pending, word)).unwrap();
    }
    let host = Host::answering([Ok(()), down(), down()]);
    outbox.send_due(&host, at(0), 0.5);
    drop(outbox);
    let mut files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let notes: Vec<_> = files.iter().filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    assert_eq!(notes.len(), 3);
    let whole = fs::read(notes[1]).unwrap();
    fs::write(notes[1], &whole[..whole.len() / 2]).unwrap();
    fs::write(dir.path().join("00000000000000000009.tmp"), "{").unwrap();
    let outbox = reopened(dir.path());
    assert_eq!(outbox.given_up(), 1);
    outbox.enqueue(sync(9, State::Pending, "e")).unwrap();
    let host = Host::default();
    outbox.send_due(&host, at(0), 0.5);
    assert_eq!(host.took(), ["b", "d", "e"]);
    drop(outbox);
    assert!(reopened(dir.path()).is_empty());
}

#[test]
fn a_shutdown_sends_what_it_can() {
    let outbox = Outbox::in_memory(100);
    outbox.enqueue(sync(1, State::Pending, "a")).unwrap();
    outbox.send_due(&Host::answering([down()]), Timestamp::now(), 1.0);
    let host = Host::default();
    assert_eq!(outbox.flush(&host, Duration::ZERO).sent, 1, "the wait after a failure is cut short");
    outbox.enqueue(sync(2, State::Pending, "b")).unwrap();
    let pass = outbox.flush(&Host::answering(std::iter::repeat_with(down).take(9)), Duration::from_millis(50));
    assert_eq!((pass.sent, outbox.len()), (0, 1), "and a host that is down does not hold up the shutdown");
}

#[test]
fn notes_are_queued_while_others_are_sent() {
    let outbox = Outbox::in_memory(1000);
    let host = Host::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..200 {
                outbox.enqueue(sync(n % 7, State::Pending, &n.to_string())).unwrap();
            }
        });
        scope.spawn(|| {
            for _ in 0..50 {
                outbox.send_due(&host, at(0), 0.5);
            }
        });
    });
    outbox.send_due(&host, at(0), 0.5);
    let took = host.took();
    assert_eq!(took.len(), 200);
    assert!(took.windows(2).all(|pair| pair[0].parse::<usize>().unwrap() < pair[1].parse::<usize>().unwrap()));
}

/// Another daemon had the scope in between: what it said is not said again, what is new is.
#[test]
fn what_the_host_has_already_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(dir.path(), 100).unwrap();
    let notes = [
        sync(1, State::Superseded, "superseded by 2"),
        sync(2, State::Pending, "seen"),
        sync(2, State::Success, "applied"),
        sync(3, State::Failure, "too late"),
        sync(3, State::Pending, "trying again"),
        sync(3, State::Success, "applied after all"),
        sync(4, State::Pending, "seen"),
        note(1, ContextKind::Health, State::Success, "healthy"),
        sync(5, State::Pending, "seen"),
        sync(5, State::Error, "broken"),
    ];
    for note in notes {
        outbox.enqueue(note).unwrap();
    }
    drop(outbox);
    let outbox = reopened(dir.path());
    let number = |revision: &Revision| usize::from_str_radix(revision.as_str(), 16).unwrap();
    let said = |revision: &Revision, _: &Context| match number(revision) {
        1 | 5 => Some(State::Superseded),
        2 => Some(State::Success),
        3 => Some(State::Failure),
        4 => Some(State::Pending),
        _ => None,
    };
    assert_eq!(outbox.drop_said(&said), 6);
    let left = ["trying again", "applied after all", "seen", "healthy"];
    assert_eq!(outbox.waiting().iter().map(|note| note.description.as_str()).collect::<Vec<_>>(), left);
    drop(outbox);
    assert_eq!(reopened(dir.path()).len(), left.len(), "on disk too");
}

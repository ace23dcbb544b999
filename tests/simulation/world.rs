//! A schedule as it runs: the embedded cluster, two daemons, and the order in which things happen between them.
//!
//! In: a history and a seed. Out: a [`Report`]. One thread, one thing at a time: a daemon runs until it waits; then one of
//! what could happen next does (a request is carried out, a watch tells, the controllers act, something of the history
//! happens), and if nothing can, the clock goes to the next moment at which something can.

use super::history::{Content, History, Step, Who, object, place};
use super::instance::{Instance, Once, Setting};
use super::moment::{self, BEGIN, MS};
use super::oracle::Oracle;
use super::wire::{Sent, stream, whole};
use axum::body::Bytes;
use driftless::cluster::control::{Control, Options};
use driftless::cluster::embedded::Held;
use driftless::cluster::kubelet::Nodes;
use driftless::cluster::read::Watch;
use driftless::cluster::request::{ApiRequest, ApiResponse};
use driftless::cluster::server::{Answer, ApiServer, Random};
use driftless::inventory::identity::PART_OF;
use driftless::object::Gk;
use driftless::source::Revision;
use driftless::source::tree::{Entry, SourceTree};
use driftless::workspace::Tip;
use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::runtime::Builder;

/// More events than this in one schedule: it goes round in a circle.
const MOST_EVENTS: usize = 100_000;
/// Once Git stands still and nothing goes wrong any more, live state is what Git says within this time.
const CONVERGES: u64 = 900_000 * MS;
/// And nothing is written for this long.
const QUIET: u64 = 35_000 * MS;

/// What one schedule came to.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// What is wrong, if anything.
    pub failure: Option<String>,
    /// What happened, line by line.
    pub trace: Vec<String>,
    /// Counts by name.
    pub counts: BTreeMap<&'static str, u64>,
}

/// A process and what the schedule does to it.
#[derive(Default)]
struct Process {
    instance: Option<Instance>,
    lives: u32,
    /// Something came in since it ran.
    told: bool,
    paused_until: Option<u64>,
    starts_at: Option<u64>,
}

struct Pending {
    from: usize,
    id: String,
    sent: Sent,
    not_before: u64,
}

struct Open {
    from: usize,
    watch: Box<Watch>,
    to: UnboundedSender<Result<Bytes, super::wire::Reset>>,
    kind: Option<Gk>,
    seen: u64,
    not_before: u64,
}

/// Everything.
pub struct World<'a> {
    pub server: ApiServer,
    control: Control,
    control_due: bool,
    control_wake: Option<u64>,
    pub now: u64,
    chance: Random,
    setting: &'a Setting,
    builder: Builder,
    processes: [Process; 3],
    pending: Vec<Pending>,
    watches: Vec<Open>,
    oracle: Oracle,
    head: Option<Tip>,
    commits: u64,
    faults: (u64, u64),
    lag_until: u64,
    /// Writes until the writer is killed, and for how long it stays away.
    kill_at: Option<(u8, u32)>,
    writer: usize,
    report: Report,
    events: usize,
}

/// A moment of the simulated clock.
pub fn time(now: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(now) + 1_767_225_600_000_000_000).unwrap()
}

impl<'a> World<'a> {
    /// A cluster that has settled. `builder` makes the runtimes: one for the schedule, since tokio's own chance comes
    /// from it.
    pub fn new(seed: u64, builder: Builder, setting: &'a Setting) -> Self {
        let nodes = Nodes { count: 1, cpu: "8".into(), memory: "8Gi".into() };
        let control = Control::new(Options { nodes, ca_certificate: String::new() });
        let mut world = Self {
            server: ApiServer::new(seed, time(BEGIN)),
            control,
            control_due: true,
            control_wake: None,
            now: BEGIN,
            chance: Random::new(seed),
            setting,
            builder,
            processes: Default::default(),
            pending: Vec::new(),
            watches: Vec::new(),
            oracle: Oracle::default(),
            head: None,
            commits: 0,
            faults: (0, 0),
            lag_until: 0,
            kill_at: None,
            writer: 0,
            report: Report::default(),
            events: 0,
        };
        for (actor, write) in world.control.bootstrap() {
            let _ = world.server.carry_out(&write, actor, time(BEGIN));
        }
        world.settle();
        world.kubectl("POST", "/api/v1/namespaces", "application/json", &json!({"metadata": {"name": "shop"}}));
        for (name, label) in [("nobody", None), ("theirs", Some("applyset-of-others-v1"))] {
            let mut strange = json!({"metadata": {"name": name}, "data": {"v": "strange"}});
            if let Some(label) = label {
                strange["metadata"]["labels"] = json!({PART_OF: label});
            }
            world.kubectl("POST", place(0).0, "application/json", &strange);
        }
        world.settle();
        world
    }

    /// Runs a history to its end, and beyond.
    pub fn run(mut self, history: &History) -> Report {
        let ended = self.play(history);
        self.report.failure = ended.err();
        let seconds = (self.now - BEGIN) / 1_000_000_000;
        *self.report.counts.entry("virtual seconds").or_default() += seconds;
        *self.report.counts.entry("events").or_default() += self.events as u64;
        self.report
    }

    fn play(&mut self, history: &History) -> Result<(), String> {
        self.commit(&history.first);
        self.start(0);
        self.start(1);
        for (wait, step) in &history.moments {
            self.go_on(self.now + u64::from(*wait) * MS)?;
            self.happen(step);
        }
        // A sync of an older revision that goes on after the last commit is a change of what is wanted, too.
        for _ in 0..1000 {
            if self.processes[2].instance.is_none() {
                break;
            }
            self.go_on(self.now + 100 * MS)?;
        }
        self.kill(2);
        self.commit(&history.last);
        self.calm();
        self.come_to_rest(&history.last)?;
        self.once(&history.last)
    }

    /// Nothing goes wrong any more.
    fn calm(&mut self) {
        self.say("calm");
        (self.faults, self.lag_until, self.kill_at) = ((0, 0), 0, None);
        for at in 0..2 {
            self.processes[at].paused_until = None;
            self.processes[at].told = true;
            if self.processes[at].instance.is_none() {
                self.start(at);
            }
        }
        self.oracle.disturbed();
        for slot in 0..super::history::SLOTS {
            let (collection, name) = place(slot);
            let path = format!("{collection}/{name}");
            let foreign =
                self.look(&path).is_some_and(|found| found["metadata"]["labels"][PART_OF] == "applyset-of-others-v1");
            if foreign {
                self.kubectl("DELETE", &path, "application/json", &json!({}));
            }
        }
    }

    /// Live becomes desired, and stays so.
    fn come_to_rest(&mut self, last: &Content) -> Result<(), String> {
        let begun = self.now;
        loop {
            let quiet = self.now.saturating_sub(self.oracle.last_write.max(begun)) >= QUIET;
            let differences = if quiet { self.oracle.differences(&self.server, last) } else { Vec::new() };
            if quiet && differences.is_empty() {
                return Ok(());
            }
            if self.now - begun > CONVERGES {
                let found = self.oracle.differences(&self.server, last);
                return Err(format!("live state is not what Git says, or does not stay so: {found:#?}"));
            }
            self.go_on(self.now + 5_000 * MS)?;
        }
    }

    /// A sync of somebody who begins with nothing: it writes nothing.
    fn once(&mut self, last: &Content) -> Result<(), String> {
        self.say("one more sync");
        for at in 0..2 {
            self.kill(at);
        }
        let writes = self.oracle.writes;
        let tip = self.head.clone().unwrap();
        // The lease of the daemons that were killed is nobody's concern here.
        let out = self.start_once(tip);
        let begun = self.now;
        while out.lock().unwrap().is_none() {
            if self.now - begun > 120_000 * MS {
                return Err("a sync of what is synced does not end".to_owned());
            }
            self.go_on(self.now + 100 * MS)?;
        }
        let ended = out.lock().unwrap().take();
        for (app, synced) in ended.unwrap().map_err(|problems| format!("the last sync failed: {problems:?}"))? {
            if let Some(halt) = synced.halt {
                return Err(format!("the last sync of {app} was refused: {halt:?}"));
            }
            let changes = synced.planned.filter(driftless::plan::Planned::has_changes);
            if synced.wrote || changes.is_some() {
                return Err(format!(
                    "a sync of what is synced has something to do in {app}: {:#?}",
                    changes.map(|p| p.plan.changes)
                ));
            }
        }
        if self.oracle.writes != writes {
            return Err("a sync of what is synced wrote".to_owned());
        }
        let found = self.oracle.differences(&self.server, last);
        if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}")) }
    }

    fn start_once(&mut self, tip: Tip) -> Arc<Mutex<Option<Once>>> {
        self.kill(2);
        let lives = self.processes[2].lives + 1;
        moment::set(self.now);
        let (instance, out) = Instance::once(&mut self.builder, self.setting, format!("C{lives}"), tip);
        self.processes[2] = Process { instance: Some(instance), lives, told: true, ..Process::default() };
        out
    }

    /// Lets everything go on until a moment.
    fn go_on(&mut self, until: u64) -> Result<(), String> {
        loop {
            self.run_processes();
            if let Some(failure) = self.oracle.failure.take() {
                return Err(failure);
            }
            self.events += 1;
            if self.events > MOST_EVENTS {
                return Err("it goes round in a circle".to_owned());
            }
            if self.now >= until {
                return Ok(());
            }
            if !self.one_thing() {
                self.wait(until);
            }
        }
    }

    fn run_processes(&mut self) {
        for at in 0..self.processes.len() {
            let process = &mut self.processes[at];
            if process.starts_at.is_some_and(|start| start <= self.now) {
                self.start(at);
            }
            let process = &mut self.processes[at];
            if process.paused_until.is_some_and(|until| until <= self.now) {
                process.paused_until = None;
                process.told = true;
            }
            let Some(instance) = &mut process.instance else { continue };
            let due = process.told || instance.next.is_some_and(|next| next <= self.now);
            if process.paused_until.is_some() || !due {
                continue;
            }
            process.told = false;
            moment::set(self.now);
            instance.run();
            let id = instance.id.clone();
            let over = instance.is_over();
            let sent = instance.wire.take();
            let said: Vec<String> = std::mem::take(&mut *instance.said.lock().unwrap());
            for line in said {
                self.say(format!("{id}: {line}"));
            }
            if over && sent.is_empty() {
                self.kill(at);
            }
            for sent in sent {
                self.oracle.sent(&self.server, &id, &sent.request, time(self.now));
                let late = if self.below(30) == 0 { self.below(1500) * MS } else { 0 };
                self.pending.push(Pending { from: at, id: id.clone(), sent, not_before: self.now + late });
            }
        }
    }

    /// One of what can happen now does. False if nothing can.
    fn one_thing(&mut self) -> bool {
        let requests: Vec<usize> =
            (0..self.pending.len()).filter(|at| self.pending[*at].not_before <= self.now).collect();
        let ready = |open: &Open| self.has_news(open) && open.not_before.max(self.lag_until) <= self.now;
        let watches: Vec<usize> = (0..self.watches.len()).filter(|at| ready(&self.watches[*at])).collect();
        let control = self.control_due || self.control_wake.is_some_and(|wake| wake <= self.now);
        let first = self.below(8);
        let order: [u64; 3] = match first {
            0..=4 => [0, 1, 2],
            5 | 6 => [1, 0, 2],
            _ => [2, 1, 0],
        };
        for kind in order {
            match kind {
                0 if !requests.is_empty() => {
                    let at = requests[self.below(requests.len() as u64) as usize];
                    let pending = self.pending.swap_remove(at);
                    self.pass(50, 900);
                    self.deliver(pending);
                    return true;
                }
                1 if !watches.is_empty() => {
                    self.tell_watches(&watches);
                    return true;
                }
                2 if control => {
                    self.pass(10, 400);
                    self.settle();
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// True if something of its kind was written since it was told last.
    fn has_news(&self, open: &Open) -> bool {
        let store = self.server.store();
        open.seen < open.kind.as_ref().map_or(store.version(), |kind| store.changed(kind))
    }

    fn pass(&mut self, least: u64, most: u64) {
        self.now += (least + self.below(most)) * 1000;
    }

    /// Nothing can happen now: the clock goes to when something can.
    fn wait(&mut self, until: u64) {
        let requests = self.pending.iter().map(|p| p.not_before);
        let watches = self.watches.iter().filter(|w| self.has_news(w)).map(|w| w.not_before.max(self.lag_until));
        let processes = self.processes.iter().flat_map(|p| {
            let timer = p.instance.as_ref().filter(|_| p.paused_until.is_none()).and_then(|i| i.next);
            [timer, p.paused_until, p.starts_at]
        });
        let next = requests.chain(watches).chain(processes.flatten()).chain(self.control_wake).chain([until]).min();
        self.now = next.unwrap_or(until).max(self.now);
    }

    fn tell_watches(&mut self, ready: &[usize]) {
        let lagging = self.chance.bits();
        for at in ready.iter().rev() {
            // Not all of them are equally fast.
            if ready.len() > 1 && (lagging >> (at % 60)) & 7 == 0 {
                self.watches[*at].not_before = self.now + (lagging >> 32) % 300 * MS;
                continue;
            }
            let open = &mut self.watches[*at];
            open.seen = self.server.store().version();
            let told = self.server.poll(&mut open.watch, time(self.now));
            let (bytes, over) = match told {
                Ok(bytes) => (bytes, false),
                Err(bytes) => (bytes, true),
            };
            if !bytes.is_empty() {
                let bytes = coalesced(bytes);
                let gone = open.to.unbounded_send(Ok(Bytes::from(bytes))).is_err();
                self.processes[open.from].told = true;
                self.watches[*at].seen = if gone { u64::MAX } else { self.watches[*at].seen };
            }
            if over {
                self.watches[*at].seen = u64::MAX;
            }
        }
        self.watches.retain(|open| open.seen != u64::MAX);
    }

    fn settle(&mut self) {
        let before = self.server.store().version();
        let wake = self.control.settle(&Held(RefCell::new(&mut self.server)), time(self.now));
        self.control_wake = wake.map(|at| {
            let since = at.duration_since(time(BEGIN)).as_nanos();
            (BEGIN + u64::try_from(since).unwrap_or(0)).max(self.now + 1)
        });
        self.control_due = false;
        if self.server.store().version() != before {
            self.oracle.controlled(&self.server);
        }
    }

    fn deliver(&mut self, pending: Pending) {
        let Pending { from, id, sent: Sent { request, answer }, .. } = pending;
        let alive = self.processes[from].instance.as_ref().is_some_and(|i| i.id == id);
        let writes = request.method != "GET" && request.param("dryRun").is_none();
        let fault =
            if self.now < self.faults.0 && self.below(100) < self.faults.1 { Some(self.below(5)) } else { None };
        if let Some(kind) = fault {
            self.count("requests that failed");
            self.say(format!("{id}: {} {} fails ({kind})", request.method, request.path));
            self.processes[from].told = true;
            match kind {
                0 => return drop(answer.send(whole(refusal(503, "ServiceUnavailable", "the server is starting")))),
                1 => return drop(answer.send(whole(refusal(429, "TooManyRequests", "slow down")))),
                2 => return drop(answer.send(whole(refusal(500, "InternalError", "etcdserver: leader changed")))),
                3 => return,
                _ => {}
            }
        }
        let judged = writes.then(|| self.oracle.before(&self.server, &request));
        let answered = self.server.handle(&request, time(self.now));
        let response = match answered {
            Answer::Watch(watch) => {
                let (to, response) = stream();
                if alive && fault.is_none() {
                    let kind = kind_of(&request.path);
                    self.watches.push(Open { from, watch, to, kind, seen: 0, not_before: 0 });
                }
                response
            }
            Answer::Response(response) => {
                if let Some(before) = judged {
                    if self.oracle.counted(&request) {
                        let what = format!("{} {}{}", request.method, request.path, force(&request));
                        self.say(format!("{id}: {what} -> {}", response.status));
                    }
                    // No controller reads inventories and leases.
                    self.control_due |= !request.path.contains("/namespaces/driftless/");
                    self.oracle.after(&self.server, (&id, &request, before), response.status, time(self.now));
                    if self.oracle.counted(&request) {
                        self.count("writes");
                        self.writer = from;
                        self.oracle.last_write = self.now;
                        self.perhaps_kill();
                    }
                }
                whole(response)
            }
        };
        self.processes[from].told = true;
        if fault.is_none() {
            let _ = answer.send(response);
        }
    }

    fn perhaps_kill(&mut self) {
        let Some((left, away)) = self.kill_at else { return };
        self.kill_at = left.checked_sub(1).map(|left| (left, away));
        if left == 0 {
            self.count("kills at a write");
            self.kill(self.writer);
            if self.writer == 2 {
                return;
            }
            self.processes[self.writer].starts_at = Some(self.now + u64::from(away) * MS);
        }
    }

    fn start(&mut self, at: usize) {
        let lives = self.processes[at].lives + 1;
        let id = format!("{}{lives}", ["A", "B", "C"][at]);
        self.say(format!("{id} starts"));
        moment::set(self.now);
        let instance = Instance::start(&mut self.builder, self.setting, id, self.head.clone());
        self.processes[at] = Process { instance: Some(instance), lives, told: true, ..Process::default() };
    }

    fn kill(&mut self, at: usize) {
        let Some(instance) = self.processes[at].instance.take() else { return };
        self.say(format!("{} is killed", instance.id));
        moment::set(self.now);
        drop(instance);
        self.watches.retain(|open| open.from != at);
        // What it sent last arrives, or does not.
        let chance = self.chance.bits();
        let mut number = 0;
        self.pending.retain(|pending| {
            number += 1;
            pending.from != at || (chance >> (number % 60)) & 1 == 0
        });
        self.processes[at].paused_until = None;
    }

    fn commit(&mut self, content: &Content) {
        self.commits += 1;
        let revision = Revision::parse(&format!("{:04x}{:036x}", self.commits, 0)).unwrap();
        self.say(format!("commit {}: {:?}", revision.short(4), content.0));
        let entries = content.files().into_iter().map(|(path, text)| (path, Entry::File(text.as_bytes().into())));
        let tree = SourceTree::new(revision.clone(), entries).unwrap();
        let tip = Tip { revision, tree: Arc::new(tree) };
        self.oracle.committed(content);
        for process in &mut self.processes {
            if let Some(instance) = &process.instance {
                instance.tell(&tip);
                process.told = true;
            }
        }
        self.head = Some(tip);
        self.count("commits");
    }

    fn who(&self, who: Who) -> usize {
        match who {
            Who::Writer => self.writer,
            Who::Other => usize::from(self.writer == 0),
        }
    }

    fn happen(&mut self, step: &Step) {
        if !matches!(step, Step::Commit(_)) {
            self.say(format!("{step:?}"));
        }
        match step {
            Step::Commit(content) => self.commit(content),
            Step::Kill(who, away) => {
                self.count("kills");
                let at = self.who(*who);
                self.kill(at);
                if at < 2 {
                    self.processes[at].starts_at = Some(self.now + u64::from(*away) * MS);
                }
            }
            Step::Sync => {
                self.count("syncs from the command line");
                if let Some(tip) = self.head.clone() {
                    drop(self.start_once(tip));
                }
            }
            Step::KillAt(nth, away) => self.kill_at = Some((*nth, *away)),
            Step::Pause(who, long) => {
                self.count("pauses");
                let at = self.who(*who);
                if self.processes[at].instance.is_some() {
                    self.processes[at].paused_until = Some(self.now + u64::from(*long) * MS);
                }
            }
            Step::Faults(long, percent) => {
                self.count("spells of faults");
                self.faults = (self.now + u64::from(*long) * MS, u64::from(*percent));
            }
            Step::Forget => {
                self.count("watches lost");
                self.watches.clear();
                self.server.forget_events();
                self.processes.iter_mut().for_each(|process| process.told = true);
            }
            Step::Lag(long) => {
                self.count("watches lag");
                self.lag_until = self.now + u64::from(*long) * MS;
            }
            edit => {
                self.count("edits");
                self.oracle.disturbed();
                self.edit(edit);
            }
        }
    }

    fn edit(&mut self, step: &Step) {
        let merge = "application/merge-patch+json";
        let at = |slot: &usize| {
            let (collection, name) = place(*slot);
            format!("{collection}/{name}")
        };
        match step {
            Step::Delete(slot) => self.kubectl("DELETE", &at(slot), "application/json", &json!({})),
            Step::Change(slot, value) => {
                let full = object(*slot, *value, false);
                let patch = match slot {
                    0..=2 => json!({"data": full["data"]}),
                    3 => json!({"metadata": {"annotations": full["metadata"]["annotations"]}}),
                    5 => json!({"spec": {"ports": full["spec"]["ports"]}}),
                    _ => json!({"spec": {"replicas": 1 + value}}),
                };
                self.kubectl("PATCH", &at(slot), merge, &patch);
            }
            Step::Seize(slot, value) if self.look(&at(slot)).is_some() => {
                let path = format!("{}?fieldManager=somebody&force=true", at(slot));
                self.kubectl("PATCH", &path, "application/apply-patch+yaml", &object(*slot, *value, false));
            }
            Step::Unlabel(slot) => {
                self.kubectl("PATCH", &at(slot), merge, &json!({"metadata": {"labels": {PART_OF: null}}}));
            }
            Step::Stranger(slot, value) => {
                self.kubectl("POST", place(*slot).0, "application/json", &object(*slot, *value, false));
            }
            Step::Foreign(slot) => {
                let mut foreign = object(*slot, 0, false);
                foreign["metadata"]["labels"] = json!({PART_OF: "applyset-of-others-v1"});
                self.kubectl("POST", place(*slot).0, "application/json", &foreign);
            }
            Step::LosePod => {
                let gk = Gk::new("", "Pod");
                let pods = self.server.store().list(&gk, Some("shop"));
                let name = pods.first().and_then(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned);
                if let Some(name) = name {
                    self.kubectl(
                        "DELETE",
                        &format!("/api/v1/namespaces/shop/pods/{name}"),
                        "application/json",
                        &json!({}),
                    );
                }
            }
            _ => {}
        }
    }

    /// A request of a person; what it comes to is said.
    fn kubectl(&mut self, method: &str, path: &str, content_type: &str, body: &Value) {
        let mut request = ApiRequest::new(method, path, body.to_string().into_bytes());
        request.content_type = content_type.to_owned();
        request.user_agent = "kubectl/v1.36".to_owned();
        if let Answer::Response(response) = self.server.handle(&request, time(self.now)) {
            self.say(format!("kubectl: {method} {path} -> {}", response.status));
        }
        self.control_due = true;
    }

    fn look(&mut self, path: &str) -> Option<Value> {
        match self.server.handle(&ApiRequest::new("GET", path, Vec::new()), time(self.now)) {
            Answer::Response(response) if response.status == 200 => serde_json::from_slice(&response.body).ok(),
            _ => None,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.chance.bits() % bound.max(1)
    }

    fn count(&mut self, what: &'static str) {
        *self.report.counts.entry(what).or_default() += 1;
    }

    fn say(&mut self, line: impl std::fmt::Display) {
        let ms = (self.now - BEGIN) / MS;
        self.report.trace.push(format!("{:>4}.{:03} {line}", ms / 1000, ms % 1000));
    }
}

/// The kind that a watch is about, where it is one of the usual ones.
fn kind_of(path: &str) -> Option<Gk> {
    let (_, plural) = path.rsplit_once('/')?;
    let (group, kind) = match plural {
        "configmaps" => ("", "ConfigMap"),
        "secrets" => ("", "Secret"),
        "services" => ("", "Service"),
        "serviceaccounts" => ("", "ServiceAccount"),
        "namespaces" => ("", "Namespace"),
        "pods" => ("", "Pod"),
        "deployments" => ("apps", "Deployment"),
        "replicasets" => ("apps", "ReplicaSet"),
        "horizontalpodautoscalers" => ("autoscaling", "HorizontalPodAutoscaler"),
        _ => return None,
    };
    Some(Gk::new(group, kind))
}

fn refusal(code: u16, reason: &str, message: &str) -> ApiResponse {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code});
    ApiResponse::json(code, &body)
}

fn force(request: &ApiRequest) -> &'static str {
    if request.param("force") == Some("true") { " (force)" } else { "" }
}

/// Of several events about one object the last one is told: what came between is never seen.
fn coalesced(bytes: Vec<u8>) -> Vec<u8> {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    if lines.len() < 2 {
        return bytes;
    }
    let mut kept: Vec<(String, Value)> = Vec::new();
    for line in lines {
        let Ok(event) = serde_json::from_slice::<Value>(line) else { return bytes };
        let name = format!("{}/{}", event["object"]["metadata"]["namespace"], event["object"]["metadata"]["name"]);
        // A change upon a change: the second one tells it all.
        let last = kept.iter().rposition(|(known, _)| *known == name);
        match last {
            Some(at) if event["type"] == "MODIFIED" && kept[at].1["type"] != "DELETED" => {
                kept[at].1["object"] = event["object"].clone();
            }
            _ => kept.push((name, event)),
        }
    }
    let mut out = Vec::new();
    for (_, event) in kept {
        out.extend(event.to_string().into_bytes());
        out.push(b'\n');
    }
    out
}

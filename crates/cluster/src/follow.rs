//! Submitting, looking, and submitting again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::chain::SLURM_FOLDER;
use crate::jobs::{queue_id, ranges};
use crate::slurm::{Scheduler, Submission};
use crate::{Chain, ClusterError, Jobs, Link, Submitted};

/// The exit code of a mistake in settings, which trying again does not mend.
const CONFIGURATION: i32 = 2;

/// How far a link is; every slice counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkCount {
    /// The link.
    pub name: String,
    /// All its slices.
    pub slices: usize,
    /// Slices that are done.
    pub done: usize,
    /// Slices that run.
    pub running: usize,
    /// Slices in the queue.
    pub waiting: usize,
    /// Slices that failed too often.
    pub failed: usize,
}

/// What one look at the cluster came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Each link.
    pub links: Vec<LinkCount>,
    /// What happened, for a person.
    pub events: Vec<String>,
    /// Whether a slice is neither done nor in the queue, and a second look must tell whether it is lost: its last files may
    /// be on their way through the network.
    pub unsure: bool,
}

impl Seen {
    /// Whether all is done.
    pub fn finished(&self) -> bool {
        self.links.iter().all(|link| link.done == link.slices)
    }

    /// Whether nothing can happen any more without somebody's help.
    pub fn stuck(&self) -> bool {
        let moving = self.links.iter().any(|link| link.running + link.waiting > 0);
        !self.unsure && !moving && !self.finished()
    }
}

/// Submits a chain and keeps it going, look by look.
pub struct Follower<'a> {
    chain: &'a Chain,
    scheduler: &'a dyn Scheduler,
    jobs: Jobs,
    /// Slices that were missing at the last look.
    missing: BTreeSet<(String, usize)>,
    /// Jobs whose hold was told of.
    held: BTreeSet<String>,
}

impl<'a> Follower<'a> {
    /// Takes up a chain, from `jobs.json` if there is one; `plan` tells plans apart. Slices that failed too often are
    /// given another chance. Writes the scripts.
    ///
    /// # Errors
    /// [`ClusterError::StillQueued`] if jobs of another plan wait or run; those of files and of the queue.
    pub fn new(chain: &'a Chain, scheduler: &'a dyn Scheduler, plan: &str) -> Result<Self, ClusterError> {
        refuse_former_jobs(&chain.folder, scheduler, plan)?;
        chain.write_scripts()?;
        let folder = chain.slurm_folder();
        let mut jobs = match Jobs::read(&folder)? {
            Some(jobs) if jobs.plan == plan => jobs,
            _ => {
                chain.forget()?;
                Jobs::new(plan)
            }
        };
        jobs.forgive(chain.settings.retries());
        jobs.save(&folder)?;
        Ok(Self { chain, scheduler, jobs, missing: BTreeSet::new(), held: BTreeSet::new() })
    }

    /// The jobs so far.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Looks at the queue and at what is done, and submits what is not, after what it needs.
    ///
    /// # Errors
    /// Those of Slurm's commands and of files. Nothing is lost: the next call looks again.
    pub fn advance(&mut self) -> Result<Seen, ClusterError> {
        // The queue first: a slice that ends meanwhile is then done or active, never missing.
        let queue = self.scheduler.queue()?;
        let mut seen = Seen { links: Vec::new(), events: Vec::new(), unsure: false };
        let mut missing = BTreeSet::new();
        // What each link leaves for those after it: the jobs they have to wait for, or `None` where they cannot go on.
        let mut ahead: BTreeMap<&str, Option<Vec<String>>> = BTreeMap::new();
        for link in &self.chain.links {
            let mut done = self.chain.done(link)?;
            let enough = link.has_enough();
            // Neither done nor needed.
            let mut needless = BTreeSet::new();
            let needed: Vec<&Option<Vec<String>>> =
                link.needs.iter().filter_map(|need| ahead.get(need.as_str())).collect();
            let ready = needed.iter().all(|jobs| jobs.as_ref().is_some_and(Vec::is_empty));
            let after: Option<Vec<String>> =
                needed.into_iter().cloned().collect::<Option<Vec<_>>>().map(|lists| lists.concat());
            let mut count = LinkCount {
                name: link.name.clone(),
                slices: link.slices,
                done: 0,
                running: 0,
                waiting: 0,
                failed: 0,
            };
            let mut to_submit = Vec::new();
            let mut sure = true;
            for (slice, done) in done.iter_mut().enumerate() {
                if *done {
                    count.done += 1;
                    continue;
                }
                let newest = self.jobs.newest(&link.name, slice).map(|job| queue_id(link, &job.job, slice));
                if let Some(activity) = newest.as_ref().and_then(|id| queue.get(id)) {
                    if activity.runs() {
                        count.running += 1
                    } else {
                        count.waiting += 1
                    }
                    if let Some(id) = newest.filter(|id| activity.is_held() && self.held.insert(id.clone())) {
                        seen.events.push(format!(
                            "{} {slice} is held ({}): `scontrol release {id}` lets it go on",
                            link.name, activity.reason
                        ));
                    }
                    continue;
                }
                if enough {
                    *done = true;
                    count.done += 1;
                    needless.insert(slice);
                    continue;
                }
                let place = (link.name.clone(), slice);
                let Some(id) = newest else {
                    to_submit.push(slice);
                    continue;
                };
                if self.failed_too_often(link, slice) {
                    count.failed += 1;
                } else if !self.missing.contains(&place) {
                    missing.insert(place);
                    sure = false;
                } else if !ready {
                    // It never began: Slurm cancelled it when what it needs failed.
                    to_submit.push(slice);
                } else if self.note_failure(link, slice, &id, &mut seen.events) {
                    to_submit.push(slice);
                } else {
                    count.failed += 1;
                }
            }
            seen.unsure |= !sure;
            if let (Some(after), false) = (&after, to_submit.is_empty()) {
                let job = self.submit(link, &to_submit, after)?;
                count.waiting += to_submit.len();
                seen.events.push(told(link, &to_submit, &job));
                to_submit.clear();
            }
            // Known to be missing, and waiting for what they need.
            missing.extend(to_submit.iter().map(|&slice| (link.name.clone(), slice)));
            let going_on = sure && count.failed == 0 && to_submit.is_empty();
            ahead.insert(&link.name, going_on.then(|| self.unfinished(link, &done, &needless)));
            seen.links.push(count);
        }
        self.missing = missing;
        if !seen.events.is_empty() {
            self.jobs.save(&self.chain.slurm_folder())?;
        }
        Ok(seen)
    }

    fn failed_too_often(&self, link: &Link, slice: usize) -> bool {
        self.jobs.failures(&link.name, slice) > self.chain.settings.retries()
    }

    /// Counts a failure and tells of it; says whether the slice is to be tried again.
    fn note_failure(&mut self, link: &Link, slice: usize, id: &str, events: &mut Vec<String>) -> bool {
        let code = self.chain.exit_code(link, slice);
        let retries = self.chain.settings.retries();
        let mut failures = self.jobs.fail(&link.name, slice);
        if code == Some(CONFIGURATION) {
            while failures <= retries {
                failures = self.jobs.fail(&link.name, slice);
            }
        }
        let how = match (code, self.scheduler.end_of(id)) {
            (Some(code), Some(end)) => format!("failed with exit code {code} ({end})"),
            (Some(code), None) => format!("failed with exit code {code}"),
            (None, Some(end)) => format!("was lost ({end})"),
            (None, None) => "was lost".to_owned(),
        };
        let then = match (failures > retries, code) {
            (true, Some(CONFIGURATION)) => "a mistake in the settings, which is not tried again".to_owned(),
            (true, _) => format!("not tried again after {failures} failures"),
            (false, _) => format!("tried again, {failures} of {retries}"),
        };
        let log = self.chain.log_path(link, slice);
        events.push(format!("{} {slice} (job {id}) {how}: {then}; see {}", link.name, log.display()));
        failures <= retries
    }

    fn submit(&mut self, link: &Link, slices: &[usize], after: &[String]) -> Result<String, ClusterError> {
        let limit = self.chain.settings.array_limit.map_or(String::new(), |limit| format!("%{limit}"));
        let submission = Submission {
            script: self.chain.script_path(link),
            array: (link.slices > 1).then(|| format!("{}{limit}", ranges(slices))),
            after: after.to_vec(),
        };
        for &slice in slices {
            let path = self.chain.slurm_folder().join("failed").join(Chain::slice_name(link, slice));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ClusterError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        let job = self.scheduler.submit(&submission)?;
        self.jobs.submitted.push(Submitted {
            link: link.name.clone(),
            job: job.clone(),
            slices: slices.to_vec(),
        });
        self.jobs.save(&self.chain.slurm_folder())?;
        Ok(job)
    }

    /// The jobs that do the slices that are not done: whole ones where all their elements are still theirs to do, else
    /// single elements, since a job some of whose elements failed never counts as successful; `needless` ones may have.
    fn unfinished(&self, link: &Link, done: &[bool], needless: &BTreeSet<usize>) -> Vec<String> {
        let mut after = Vec::new();
        for job in self.jobs.submitted.iter().filter(|job| job.link == link.name) {
            let own = |slice: &&usize| {
                self.jobs.newest(&link.name, **slice).is_some_and(|newest| newest.job == job.job)
            };
            let open: Vec<usize> =
                job.slices.iter().filter(own).copied().filter(|&slice| !done[slice]).collect();
            if open.is_empty() {
                continue;
            }
            if job.slices.iter().all(|slice| own(&slice) && !needless.contains(slice)) {
                after.push(job.job.clone());
            } else {
                after.extend(open.iter().map(|&slice| queue_id(link, &job.job, slice)));
            }
        }
        after
    }
}

/// Checks that no job of another plan than `plan` waits or runs for the study in `folder`: it would find a plan that is not
/// its own.
///
/// # Errors
/// [`ClusterError::StillQueued`]; those of the queue and of `jobs.json`.
pub fn refuse_former_jobs(folder: &Path, scheduler: &dyn Scheduler, plan: &str) -> Result<(), ClusterError> {
    let Some(former) = Jobs::read(&folder.join(SLURM_FOLDER))?.filter(|jobs| jobs.plan != plan) else {
        return Ok(());
    };
    let queue = scheduler.queue()?;
    let active = |id: &str| queue.keys().any(|queued| queued.split('_').next() == Some(id));
    let ids: Vec<&str> =
        former.submitted.iter().map(|job| job.job.as_str()).filter(|id| active(id)).collect();
    if ids.is_empty() {
        return Ok(());
    }
    Err(ClusterError::StillQueued { jobs: ids.len(), ids: ids.join(" ") })
}

impl Chain {
    /// What submitting the whole chain would run, with `$name` for the jobs that come before.
    pub fn submissions(&self) -> Vec<(&Link, Submission)> {
        let limit = self.settings.array_limit.map_or(String::new(), |limit| format!("%{limit}"));
        self.links
            .iter()
            .map(|link| {
                let all: Vec<usize> = (0..link.slices).collect();
                let submission = Submission {
                    script: self.script_path(link),
                    array: (link.slices > 1).then(|| format!("{}{limit}", ranges(&all))),
                    after: link.needs.iter().map(|need| format!("<job of {need}>")).collect(),
                };
                (link, submission)
            })
            .collect()
    }
}

fn told(link: &Link, slices: &[usize], job: &str) -> String {
    if link.slices > 1 {
        format!("submitted {} {} as job {job}", link.name, ranges(slices))
    } else {
        format!("submitted {} as job {job}", link.name)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;

    use super::*;
    use crate::{Activity, Queue, SlurmSettings};

    /// A cluster in which nothing happens by itself.
    #[derive(Default)]
    struct Still {
        queue: RefCell<Queue>,
        submitted: RefCell<Vec<Submission>>,
        refuses: RefCell<bool>,
    }

    impl Scheduler for Still {
        fn submit(&self, submission: &Submission) -> Result<String, ClusterError> {
            if *self.refuses.borrow() {
                return Err(ClusterError::Unforeseen {
                    command: "sbatch".into(),
                    output: String::new(),
                    expected: "a number",
                });
            }
            let mut all = self.submitted.borrow_mut();
            all.push(submission.clone());
            let job = (99 + all.len()).to_string();
            let waits = || Activity { state: "PENDING".into(), reason: "Priority".into() };
            match submission.array.as_deref() {
                None => drop(self.queue.borrow_mut().insert(job.clone(), waits())),
                Some(array) => {
                    for part in array.split('%').next().unwrap().split(',') {
                        let (first, last) = part.split_once('-').unwrap_or((part, part));
                        for k in first.parse::<usize>().unwrap()..=last.parse().unwrap() {
                            self.queue.borrow_mut().insert(format!("{job}_{k}"), waits());
                        }
                    }
                }
            }
            Ok(job)
        }

        fn queue(&self) -> Result<Queue, ClusterError> {
            Ok(self.queue.borrow().clone())
        }

        fn end_of(&self, _: &str) -> Option<String> {
            Some("TIMEOUT, exit code 0:15".into())
        }
    }

    impl Still {
        fn end(&self, id: &str) {
            assert!(self.queue.borrow_mut().remove(id).is_some(), "{id} is not in the queue");
        }

        fn last(&self) -> Submission {
            self.submitted.borrow().last().unwrap().clone()
        }
    }

    fn chain(folder: &std::path::Path) -> Chain {
        let link = |name: &str, slices: usize, needs: &[&str]| Link {
            name: name.to_owned(),
            about: "A stage".to_owned(),
            slices,
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            command: vec!["true".into()],
            enough: None,
        };
        let links = vec![
            link("train", 1, &[]),
            link("coalitions", 4, &["train"]),
            link("report", 1, &["coalitions"]),
        ];
        let settings = SlurmSettings { retries: Some(1), ..Default::default() };
        Chain { study: "tiny".into(), folder: folder.to_owned(), links, settings }
    }

    fn leave(chain: &Chain, kind: &str, name: &str, code: i32) {
        fs::write(chain.slurm_folder().join(kind).join(name), format!("{code}\n")).unwrap();
    }

    #[test]
    fn the_chain_is_submitted_at_once_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, still) = (chain(folder.path()), Still::default());
        let mut follower = Follower::new(&chain, &still, "plan").unwrap();
        let seen = follower.advance().unwrap();
        let after: Vec<Vec<String>> = still.submitted.borrow().iter().map(|one| one.after.clone()).collect();
        assert_eq!(after, [vec![], vec!["100".to_owned()], vec!["101".to_owned()]]);
        assert_eq!(still.submitted.borrow()[1].array.as_deref(), Some("0-3"));
        assert_eq!(seen.links.iter().map(|link| link.waiting).collect::<Vec<_>>(), [1, 4, 1]);
        // Somebody else takes over: nothing is submitted twice.
        let mut follower = Follower::new(&chain, &still, "plan").unwrap();
        assert!(follower.advance().unwrap().events.is_empty());
        for (id, name) in [
            ("100", "train-0"),
            ("101_0", "coalitions-0"),
            ("101_1", "coalitions-1"),
            ("101_2", "coalitions-2"),
            ("101_3", "coalitions-3"),
            ("102", "report-0"),
        ] {
            still.end(id);
            leave(&chain, "done", name, 0);
        }
        assert!(follower.advance().unwrap().finished());
        assert_eq!(still.submitted.borrow().len(), 3);
    }

    #[test]
    fn a_lost_slice_is_submitted_alone_and_what_waited_for_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, still) = (chain(folder.path()), Still::default());
        let mut follower = Follower::new(&chain, &still, "plan").unwrap();
        follower.advance().unwrap();
        still.end("100");
        leave(&chain, "done", "train-0", 0);
        still.end("101_1");
        leave(&chain, "done", "coalitions-1", 0);
        // Slice 2 vanishes, and with it the report that needed it.
        still.end("101_2");
        still.end("102");
        let first = follower.advance().unwrap();
        assert!(
            first.unsure && first.events.is_empty() && !first.stuck(),
            "one look is not enough: {first:?}"
        );
        let second = follower.advance().unwrap();
        let told = second.events.join("\n");
        assert!(
            told.contains("coalitions 2 (job 101_2) was lost (TIMEOUT, exit code 0:15): tried again, 1 of 1"),
            "{told}"
        );
        let all = still.submitted.borrow();
        assert_eq!(all[3].array.as_deref(), Some("2"));
        // Job 101 can never succeed as a whole any more.
        assert_eq!(all[4].after, ["101_0", "101_3", "103"]);
    }

    #[test]
    fn once_there_is_enough_nothing_more_is_submitted_and_what_runs_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (mut chain, still) = (chain(folder.path()), Still::default());
        let enough = folder.path().join("enough");
        chain.links[1].enough = Some(enough.clone());
        let mut follower = Follower::new(&chain, &still, "plan").unwrap();
        follower.advance().unwrap();
        still.end("100");
        leave(&chain, "done", "train-0", 0);
        // Slice 1 fails, slice 2 vanishes, and with them the report; but the others came to enough meanwhile.
        for id in ["101_1", "101_2", "102"] {
            still.end(id);
        }
        leave(&chain, "failed", "coalitions-1", 1);
        fs::write(&enough, "").unwrap();
        let seen = follower.advance().unwrap();
        assert_eq!((seen.links[1].done, seen.links[1].waiting, seen.links[1].failed), (2, 2, 0));
        follower.advance().unwrap();
        // The report waits for those that are in the queue, and not for the job as a whole, which can never succeed.
        assert_eq!(still.submitted.borrow().len(), 4);
        assert_eq!(still.last().after, ["101_0", "101_3"]);
        for (id, name) in [("101_0", "coalitions-0"), ("101_3", "coalitions-3"), ("103", "report-0")] {
            still.end(id);
            leave(&chain, "done", name, 0);
        }
        assert!(follower.advance().unwrap().finished());
        assert_eq!(still.submitted.borrow().len(), 4);
    }

    #[test]
    fn retries_come_to_an_end_and_begin_anew_with_a_new_command() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, still) = (chain(folder.path()), Still::default());
        let mut follower = Follower::new(&chain, &still, "plan").unwrap();
        follower.advance().unwrap();
        for id in ["100", "101_0", "101_1", "101_2", "101_3", "102"] {
            still.end(id);
        }
        leave(&chain, "failed", "train-0", 1);
        follower.advance().unwrap();
        let seen = follower.advance().unwrap();
        assert!(
            seen.events[0].contains("failed with exit code 1 (TIMEOUT, exit code 0:15): tried again"),
            "{seen:?}"
        );
        // The cancelled dependants were no failures of their own.
        assert_eq!(still.last().after, ["104"]);
        for id in ["103", "104_0", "104_1", "104_2", "104_3", "105"] {
            still.end(id);
        }
        follower.advance().unwrap();
        let seen = follower.advance().unwrap();
        assert!(
            seen.events[0].contains("was lost")
                && seen.events[0].contains("not tried again after 2 failures"),
            "{seen:?}"
        );
        assert!(seen.stuck() && seen.links[0].failed == 1, "{seen:?}");
        assert_eq!(still.submitted.borrow().len(), 6);
        let mut follower = Follower::new(&chain, &still, "plan").unwrap();
        follower.advance().unwrap();
        let seen = follower.advance().unwrap();
        assert!(!seen.stuck() && still.submitted.borrow().len() == 9, "{seen:?}");
    }

    #[test]
    fn a_mistake_in_the_settings_is_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, still) = (chain(folder.path()), Still::default());
        let mut follower = Follower::new(&chain, &still, "plan").unwrap();
        follower.advance().unwrap();
        still.end("100");
        leave(&chain, "failed", "train-0", 2);
        follower.advance().unwrap();
        let seen = follower.advance().unwrap();
        assert!(seen.events[0].contains("mistake in the settings"), "{seen:?}");
        assert_eq!(still.submitted.borrow().len(), 3);
    }

    #[test]
    fn another_plan_waits_for_the_former_ones_jobs() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, still) = (chain(folder.path()), Still::default());
        Follower::new(&chain, &still, "plan").unwrap().advance().unwrap();
        leave(&chain, "done", "train-0", 0);
        let error = Follower::new(&chain, &still, "other").err().unwrap().to_string();
        assert!(error.contains("3 of them") && error.contains("scancel 100 101 102"), "{error}");
        still.queue.borrow_mut().clear();
        let mut follower = Follower::new(&chain, &still, "other").unwrap();
        assert_eq!(follower.advance().unwrap().links[0].done, 0, "what was done was of the former plan");
    }

    #[test]
    fn an_interrupted_submission_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, still) = (chain(folder.path()), Still::default());
        *still.refuses.borrow_mut() = true;
        assert!(Follower::new(&chain, &still, "plan").unwrap().advance().is_err());
        *still.refuses.borrow_mut() = false;
        let seen = Follower::new(&chain, &still, "plan").unwrap().advance().unwrap();
        assert_eq!((seen.events.len(), still.submitted.borrow().len()), (3, 3));
    }
}

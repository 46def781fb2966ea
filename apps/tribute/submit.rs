//! `tribute submit`: a study as job arrays on a Slurm cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use cluster::{Chain, ClusterError, Follower, Gpus, Link, LinkCount, Seen, Slurm, Word, refuse_former_jobs};
use serde_json::json;
use study::{
    Context, Overrides, Stage, StudyDir, StudyError, WorkList, is_planned, list_of, write_work_list,
};
use terminal::{ComputeArgs, Session, StudyArgs, print, print_json, usage};

use crate::run::default_out;

/// Looks at the cluster that may fail one after the other before following ends.
const PATIENCE: u32 = 20;

/// Arguments of `tribute submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    #[command(flatten)]
    study: StudyArgs,
    /// Submit to Slurm
    #[arg(long)]
    slurm: bool,
    /// Folder of the results, which every node must see; runs/<name of the study> when left out
    #[arg(long)]
    out: Option<PathBuf>,
    /// Partition; the cluster's default when left out
    #[arg(long)]
    partition: Option<String>,
    /// Account to charge
    #[arg(long)]
    account: Option<String>,
    /// Quality of service
    #[arg(long)]
    qos: Option<String>,
    /// Time limit of one job: minutes, hh:mm:ss, d-hh:mm:ss
    #[arg(long)]
    time: Option<String>,
    /// Graphics cards of each job: a number, or a kind and a number such as a100:2
    #[arg(long)]
    gpus: Option<Gpus>,
    /// CPU cores of each job (1)
    #[arg(long)]
    cpus: Option<u32>,
    /// Memory of each job, such as 8G
    #[arg(long)]
    mem: Option<String>,
    /// How often a slice that failed or was lost is submitted again (2)
    #[arg(long)]
    retries: Option<u32>,
    /// How often a job goes back to the queue when its time limit stops it (100)
    #[arg(long)]
    restarts: Option<u32>,
    /// Most elements of an array that run at the same time
    #[arg(long)]
    array_limit: Option<u32>,
    /// Most elements of an array; a stage with more tasks is cut into as many slices (1000)
    #[arg(long)]
    jobs: Option<u32>,
    /// Seconds before the time limit at which a job is told to save and stop (60)
    #[arg(long)]
    warning: Option<u32>,
    /// A line of shell that each job runs first, such as "module load cuda"; may be given often
    #[arg(long)]
    setup: Vec<String>,
    /// A further option of sbatch, such as --sbatch=--exclude=node7; may be given often
    #[arg(long, allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// The program on the nodes; this very file when left out
    #[arg(long)]
    program: Option<PathBuf>,
    /// Show scripts and commands, write and submit nothing
    #[arg(long, conflicts_with = "follow")]
    dry_run: bool,
    /// Stay until all is done, show progress, and submit again what failed or was lost
    #[arg(long)]
    follow: bool,
    /// Seconds between two looks at the queue
    #[arg(long, default_value_t = 30)]
    poll: u64,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Plans the study if it is not planned yet, submits what is not done and not in the queue, and follows if asked to.
pub fn submit(arguments: &SubmitArgs) -> anyhow::Result<()> {
    if !arguments.slurm {
        return Err(usage(
            "which cluster? --slurm is the one that is known; the book's page on clusters has others",
        ));
    }
    let config = arguments.study.config(&arguments.overrides())?;
    let out = arguments.out.clone().unwrap_or_else(|| default_out(&config));
    let out = std::path::absolute(&out).with_context(|| format!("cannot find {}", out.display()))?;
    let session = Session::start(&arguments.compute)?;
    let context = session.open(config)?;
    let dir = StudyDir::new(&out);
    if arguments.dry_run {
        return show(&arguments.chain(&context, &out, &list_of(&context)?)?);
    }
    let list = list_of(&context)?;
    if !is_planned(&context, &dir)? {
        // The jobs of a former plan read its files, which are about to change.
        refuse_former_jobs(&out, &Slurm, &list.sha256()?).map_err(StudyError::from)?;
        write_work_list(&context, &dir)?;
    }
    let chain = arguments.chain(&context, &out, &list)?;
    let mut follower = Follower::new(&chain, &Slurm, &list.sha256()?).map_err(StudyError::from)?;
    let mut view = View { quiet: arguments.compute.quiet, last: String::new() };
    let poll = Duration::from_secs(arguments.poll.max(1));
    let mut failures = 0;
    let seen = loop {
        match follower.advance() {
            Ok(seen) => {
                failures = 0;
                view.show(&seen);
                if seen.finished() || seen.stuck() || !(arguments.follow || seen.unsure) {
                    break seen;
                }
            }
            // The controller may be busy or restarting; jobs go on without us.
            Err(error @ ClusterError::Refused { .. }) if arguments.follow && failures < PATIENCE => {
                failures += 1;
                terminal::tell(format_args!(
                    "{error}\n  looking again in {} s ({failures} of {PATIENCE})",
                    poll.as_secs()
                ));
            }
            Err(error) => return Err(StudyError::from(error).into()),
        }
        if !sleep(poll, &session) {
            anyhow::bail!("stopped following; the jobs go on, and the same command follows them again");
        }
    };
    tell(&chain, &follower, &seen)?;
    if seen.stuck() {
        let failed: usize = seen.links.iter().map(|link| link.failed).sum();
        anyhow::bail!(
            "{failed} slices failed too often; their logs are in {}, and the same command tries them again",
            chain.slurm_folder().join("logs").display()
        );
    }
    Ok(())
}

/// Waits, unless the user asks to stop.
fn sleep(time: Duration, session: &Session) -> bool {
    use study::Progress;
    let end = std::time::Instant::now() + time;
    while std::time::Instant::now() < end {
        if session.progress.stop_requested() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    !session.progress.stop_requested()
}

/// What the dry run prints: scripts and commands, as they would be.
fn show(chain: &Chain) -> anyhow::Result<()> {
    for (link, submission) in chain.submissions() {
        print(format_args!(
            "# ---- {}\n{}# ---- submitted by\n#   {}\n",
            submission.script.display(),
            chain.script(link).map_err(StudyError::from)?,
            submission.in_shell()
        ))?;
    }
    Ok(())
}

fn tell(chain: &Chain, follower: &Follower<'_>, seen: &Seen) -> anyhow::Result<()> {
    let links: Vec<_> = seen
        .links
        .iter()
        .map(|link| {
            let jobs: Vec<&str> = follower
                .jobs()
                .submitted
                .iter()
                .filter(|job| job.link == link.name)
                .map(|job| job.job.as_str())
                .collect();
            json!({
                "stage": link.name, "slices": link.slices, "done": link.done, "running": link.running,
                "waiting": link.waiting, "failed": link.failed, "jobs": jobs,
            })
        })
        .collect();
    let folder = chain.slurm_folder();
    let finished = seen.finished();
    let report = finished.then(|| chain.folder.join("report.html"));
    print_json(
        &json!({ "folder": chain.folder, "scripts": folder, "finished": finished, "report": report, "stages": links }),
    )
}

/// Progress on stderr: events, and one line when the counts change.
struct View {
    quiet: bool,
    last: String,
}

impl View {
    fn show(&mut self, seen: &Seen) {
        if self.quiet {
            return;
        }
        for event in &seen.events {
            terminal::tell(event);
        }
        let line = seen.links.iter().map(count).collect::<Vec<_>>().join("; ");
        if line != self.last {
            terminal::tell(&line);
            self.last = line;
        }
    }
}

fn count(link: &LinkCount) -> String {
    let mut text = format!("{} {}/{}", link.name, link.done, link.slices);
    for (number, what) in [(link.running, "running"), (link.waiting, "waiting"), (link.failed, "failed")] {
        if number > 0 {
            text += &format!(" {number} {what}");
        }
    }
    text
}

impl SubmitArgs {
    fn overrides(&self) -> Overrides {
        let mut set = Overrides::default();
        set.set("slurm.partition", self.partition.as_ref());
        set.set("slurm.account", self.account.as_ref());
        set.set("slurm.qos", self.qos.as_ref());
        set.set("slurm.time", self.time.as_ref());
        set.set("slurm.gpus", self.gpus.as_ref());
        set.set("slurm.cpus", self.cpus);
        set.set("slurm.mem", self.mem.as_ref());
        set.set("slurm.retries", self.retries);
        set.set("slurm.restarts", self.restarts);
        set.set("slurm.array_limit", self.array_limit);
        set.set("slurm.jobs", self.jobs);
        set.set("slurm.warning", self.warning);
        set.set("slurm.setup", (!self.setup.is_empty()).then_some(&self.setup));
        set.set("slurm.options", (!self.sbatch.is_empty()).then_some(&self.sbatch));
        set
    }

    /// The study's stages as links, and the report after all of them.
    fn chain(&self, context: &Context, out: &Path, list: &WorkList) -> anyhow::Result<Chain> {
        let settings = context.config.slurm.clone().unwrap_or_default();
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("cannot tell where this program is: give --program")?,
        };
        let (dir, until) = (StudyDir::new(out), context.config.coalitions.until);
        let text = |path: &Path| path.display().to_string();
        let compute = |link: &str| {
            let cpus = settings.resources(link).cpus.unwrap_or(1) as usize;
            let threads = self.compute.threads.unwrap_or(cpus).to_string();
            let words = ["--device", &self.compute.device.to_string(), "--threads", &threads, "--quiet"];
            words.map(Word::from)
        };
        let mut links = Vec::new();
        for stage in list.stages.iter().filter(|stage| !stage.tasks.is_empty()) {
            let name = stage.stage.name();
            let slices = stage.tasks.len().min(settings.jobs());
            let mut command: Vec<Word> = vec![text(&program).into(), "work".into()];
            command.extend(["--plan", &text(&dir.work_list()), "--stage", name].map(Word::from));
            command.extend([Word::from("--index"), Word::Slice, "--count".into(), slices.to_string().into()]);
            command.extend(compute(name));
            links.push(Link {
                name: name.to_owned(),
                about: about(stage.stage).to_owned(),
                slices,
                needs: stage.needs.iter().map(|need| need.name().to_owned()).collect(),
                command,
                enough: (stage.stage == Stage::Coalitions && until.is_some()).then(|| dir.stopped()),
            });
        }
        let mut command: Vec<Word> =
            vec![text(&program).into(), "run".into(), text(&dir.study_file()).into()];
        command.extend(["--out", &text(out)].map(Word::from));
        command.extend(compute("report"));
        links.push(Link {
            name: "report".to_owned(),
            about: "The scores, what removing contributors does, and the report".to_owned(),
            slices: 1,
            needs: links.iter().map(|link| link.name.clone()).collect(),
            command,
            enough: None,
        });
        Ok(Chain { study: context.config.name.clone(), folder: out.to_owned(), links, settings })
    }
}

fn about(stage: Stage) -> &'static str {
    match stage {
        Stage::Train => "Training of the full model",
        Stage::Prune => "Pruning of the full model and fine-tuning of what is left",
        Stage::Condition => "Teaching the model its contributors",
        Stage::Coalitions => "The models of the coalitions",
        Stage::Retrain => "The retrained models that judge the scores",
    }
}

//! Runs the commands of the book.
//!
//! The chapters are read in the order of `SUMMARY.md`. A block marked `file=NAME` becomes a file of the working folder. In
//! a block marked `console`, each line that begins with `$ ` is run there and must succeed. In one marked `console,slow`
//! it is checked for its form: with `--help` where it is one of ours, by the name of its program otherwise.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use study::StudyConfig;

/// Programs that slow blocks may use beside our own.
const FOREIGN_PROGRAMS: [&str; 4] = ["cargo", "mdbook", "pip", "python3"];
/// What the shell would act on; commands of the book need no shell.
const SHELL_CHARACTERS: &[char] = &['|', '>', '<', '&', ';', '$', '`', '"', '\'', '*', '?', '\\', '#'];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("apps is a folder of the project").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fenced block: what stands behind the fence, its text, and where it is.
struct Block {
    info: Vec<String>,
    text: String,
    place: String,
}

impl Block {
    fn is(&self, word: &str) -> bool {
        self.info.iter().any(|part| part == word)
    }

    fn file(&self) -> Option<&str> {
        self.info.iter().find_map(|part| part.strip_prefix("file="))
    }

    fn commands(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| line.strip_prefix("$ "))
    }
}

fn blocks(path: &Path) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in read(path).lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(info), false) => {
                let info = info.split(',').map(str::to_owned).collect();
                let place = format!("{}:{}", path.display(), number + 1);
                blocks.push(Block { info, text: String::new(), place });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => {
                let block = blocks.last_mut().expect("an open block is the last one");
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!open, "{}: a block is not closed", path.display());
    blocks
}

/// The chapters in their order; every file of the book must be one.
fn chapters() -> Vec<PathBuf> {
    let source = project().join("docs/src");
    let summary = read(&source.join("SUMMARY.md"));
    let names: Vec<&str> =
        summary.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(')')).collect();
    let listed: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let present: BTreeSet<String> = fs::read_dir(&source)
        .expect("the book")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .collect();
    assert_eq!(listed, present, "SUMMARY.md must list every chapter");
    names.into_iter().map(|name| source.join(name)).collect()
}

/// A fresh folder with a link to `datasets`, and images by four people.
fn working_folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("book");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("the folder of an earlier test");
    }
    fs::create_dir_all(&folder).expect("room for a folder");
    std::os::unix::fs::symlink(project().join("datasets"), folder.join("datasets")).expect("a link");
    let fixtures = project().join("crates/data/tests/fixtures");
    let images = ["palette.png", "one_bit.png", "rotated.jpg", "progressive.jpg", "restarts.jpg"];
    for (person, name) in ["ada", "grace", "joan", "mary"].into_iter().enumerate() {
        let own = folder.join("my-images").join(name);
        fs::create_dir_all(&own).expect("room for a folder");
        for (number, image) in images.iter().cycle().skip(person).take(3 + person).enumerate() {
            let extension = Path::new(image).extension().expect("has one").to_string_lossy();
            let copy = own.join(format!("{}.{extension}", number + 1));
            fs::copy(fixtures.join(image), copy).expect("room for an image");
        }
    }
    folder
}

/// The words of a command that needs no shell; the first is the program.
fn words<'a>(command: &'a str, place: &str) -> Vec<&'a str> {
    assert!(!command.contains(SHELL_CHARACTERS), "{place}: `{command}` would need a shell");
    command.split_whitespace().collect()
}

/// The file of one of our programs; `None` for others.
fn ours(program: &str) -> Option<PathBuf> {
    let own = program == "tribute" || program.starts_with("tribute-");
    let folder = Path::new(env!("CARGO_BIN_EXE_tribute")).parent().expect("a file is in a folder");
    own.then(|| folder.join(program))
}

fn run(program: &Path, arguments: &[&str], folder: &Path, place: &str) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{place}: {}: {error}", program.display()));
    assert!(
        output.status.success(),
        "{place}: {} {arguments:?} ended with {}\n{}{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_command_of_the_book_works() {
    let folder = working_folder();
    let (mut run_whole, mut programs) = (0, BTreeSet::new());
    for block in chapters().iter().flat_map(|chapter| blocks(chapter)) {
        if let Some(name) = block.file() {
            fs::write(folder.join(name), &block.text).expect("room for a file");
        }
        if !block.is("console") {
            let shell = ["sh", "bash", "shell"].iter().any(|word| block.is(word));
            assert!(!shell, "{}: mark commands as `console`, so that they are run", block.place);
            continue;
        }
        assert!(block.commands().next().is_some(), "{}: no line begins with `$ `", block.place);
        for command in block.commands() {
            let words = words(command, &block.place);
            let (program, arguments) = words.split_first().expect("a command has a word");
            match (ours(program), block.is("slow")) {
                (Some(program), true) => {
                    run(&program, &[arguments, &["--help"]].concat(), &folder, &block.place);
                }
                (Some(file), false) => {
                    run(&file, arguments, &folder, &block.place);
                    run_whole += 1;
                    programs.insert((*program).to_owned());
                }
                (None, true) => {
                    assert!(FOREIGN_PROGRAMS.contains(program), "{}: what is `{program}`?", block.place);
                }
                (None, false) => panic!("{}: `{command}` is not ours: mark it `slow`", block.place),
            }
        }
    }
    assert!(run_whole >= 20, "only {run_whole} commands of the book were run");
    for program in [
        "tribute",
        "tribute-train",
        "tribute-prune",
        "tribute-unlearn",
        "tribute-sample",
        "tribute-measure",
        "tribute-lds",
        "tribute-influence",
    ] {
        assert!(programs.contains(program), "the book never runs {program}");
    }
    every_key_is_documented(&folder);
}

/// Every key of a study file with all defaults written out, and of the book's own complete one.
fn every_key_is_documented(folder: &Path) {
    let chapter = read(&project().join("docs/src/study-file.md"));
    let documented = |key: &str| chapter.lines().any(|line| line.starts_with(&format!("| `{key}` |")));
    let mut keys = 0;
    for file in [folder.join("runs/first/study.toml"), folder.join("complete.toml")] {
        let text = read(&file);
        for line in text.lines().filter(|line| !line.starts_with(' ')) {
            let Some((key, _)) = line.split_once(" = ") else { continue };
            keys += 1;
            assert!(documented(key), "study-file.md has no row for `{key}`");
        }
    }
    assert!(keys > 60, "only {keys} keys were found");
}

/// Sections of study-file.md, with the tables of a study file whose keys they document: a table's name, and keys that it needs to be
/// read at all.
const SECTIONS: [(&str, &[(&str, &str)]); 18] = [
    ("## Top level", &[("", "")]),
    ("## `[data]`", &[("data", ""), ("data.select", "")]),
    ("## `[latent]`", &[("latent", "")]),
    ("## `[vqvae]`", &[("vqvae", "")]),
    ("## `[model]`", &[("model", "")]),
    ("## `[diffusion]`", &[("diffusion", "")]),
    (
        "## `[train]`",
        &[
            ("train", ""),
            ("train.log", ""),
            ("train.optimization", ""),
            ("train.optimization.optimizer", "kind = 'adam'"),
            ("train.optimization.ema", ""),
        ],
    ),
    ("## `[prune]`", &[("prune", "")]),
    ("## `[fine_tune]`", &[("fine_tune", "")]),
    ("## `[unlearn]`", &[("unlearn", "")]),
    ("## `[coalitions]`", &[("coalitions", "")]),
    (
        "## `[sample]`",
        &[("sample", ""), ("sample.sampler", "kind = 'ddim'"), ("sample.sampler", "kind = 'ddpm'")],
    ),
    ("## `[measures]`", &[("measures", "")]),
    ("## `[evaluation]`", &[("evaluation", "")]),
    ("## `[influence]`", &[("influence", "")]),
    ("## `[compare]`", &[("compare", "")]),
    ("## `[slurm]`", &[("slurm", "")]),
    ("## Behaviours", &[("measures.commands.mine", "")]),
];

/// The keys that the parser takes in a table: it names them when it refuses another.
fn accepted_keys(table: &str, needed: &str) -> BTreeSet<String> {
    let head = if table.is_empty() { String::new() } else { format!("[{table}]\n{needed}\n") };
    let text = format!("{head}no_such_key = 1\n");
    let error =
        StudyConfig::parse(&text, Path::new("."), Path::new("study.toml")).expect_err("an unknown key");
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        message = format!("{message}\n{cause}");
        source = cause.source();
    }
    let (_, expected) = message
        .split_once("unknown field `no_such_key`, expected ")
        .unwrap_or_else(|| panic!("[{table}] names no keys: {message}"));
    let expected = expected.lines().next().unwrap_or_default();
    // The key that tells which kind of table it is, is none of those of the kind.
    let kind = needed.split_once(" = ").map(|(key, _)| key);
    expected.split('`').skip(1).step_by(2).chain(kind).map(str::to_owned).collect()
}

/// The keys in the rows of a section's tables of keys.
fn documented_keys(section: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut in_table = false;
    for line in section.lines() {
        // Behaviours are no keys of a file.
        let begins = line.starts_with("| key") && !line.starts_with("| key | what |");
        in_table = begins || in_table && line.starts_with('|');
        let key = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |"));
        if let (true, Some((key, _))) = (in_table, key) {
            assert!(keys.insert(key.to_owned()) || key == "batch_size" || key == "steps", "`{key}` twice");
        }
    }
    keys
}

#[test]
fn study_file_md_has_the_keys_that_the_parser_takes_and_no_others() {
    let chapter = read(&project().join("docs/src/study-file.md"));
    let mut sections: Vec<String> = Vec::new();
    for line in chapter.lines() {
        match sections.last_mut() {
            Some(section) if !line.starts_with("## ") => *section += &format!("{line}\n"),
            _ => sections.push(format!("{line}\n")),
        }
    }
    let with_tables: Vec<&str> = SECTIONS.iter().map(|(heading, _)| *heading).collect();
    for section in &sections {
        let heading = section.lines().next().unwrap_or_default();
        assert!(
            with_tables.contains(&heading) || documented_keys(section).is_empty(),
            "{heading} is not compared with the parser"
        );
    }
    for (heading, tables) in SECTIONS {
        let section = sections.iter().find(|section| section.lines().next() == Some(heading));
        let section = section.unwrap_or_else(|| panic!("study-file.md has no section {heading}"));
        let mut accepted: BTreeSet<String> =
            tables.iter().flat_map(|(table, needed)| accepted_keys(table, needed)).collect();
        // Tables that have a section of their own.
        accepted.retain(|key| {
            !heading.contains("Top level") || !with_tables.contains(&format!("## `[{key}]`").as_str())
        });
        // Tables of which the text says which keys they have.
        let documented = documented_keys(section);
        let named = |key: &String| section.contains(&format!("`[{}.{key}]`", tables[0].0));
        accepted.retain(|key| documented.contains(key) || !named(key));
        assert_eq!(documented, accepted, "{heading}");
    }
}

/// The options of the method's first implementation, stage by stage, by the headings of `options.md`.
const OPTIONS: [(&str, &str); 4] = [
    (
        "Training",
        "dataset method load excluded_class removal_dist datamodel_alpha removal_seed opt_seed outdir \
         keep_all_ckpts db exp_name gradient_accumulation_steps pruning_ratio pruner thr \
         mixed_precision precompute_stage use_8bit_optimizer ema_inv_gamma ema_power ema_max_decay \
         num_inference_steps num_train_steps save_null_model log_freq",
    ),
    (
        "Pruning",
        "load dataset pruning_ratio pruner thr mixed_precision gradient_accumulation_steps \
         ema_inv_gamma ema_power ema_max_decay num_inference_steps",
    ),
    (
        "Unlearning",
        "dataset method load excluded_class removal_dist datamodel_alpha removal_seed opt_seed outdir \
         keep_all_ckpts db exp_name gradient_accumulation_steps pruning_ratio pruner thr \
         mixed_precision precompute_stage use_8bit_optimizer ema_inv_gamma ema_power ema_max_decay \
         num_inference_steps num_train_steps save_null_model log_freq iu_ratio ga_ratio gd_steps \
         lora_rank lora_dropout reference_dir batch_size n_samples model_behavior use_ema n_noises \
         pruned",
    ),
    (
        "Scores",
        "dataset removal_dist datamodel_alpha model_behavior_key train_db train_exp_name method \
         full_db null_db max_train_size test_db test_exp_name num_test_subset n_samples by_class \
         bootstrapped num_bootstrap_iters gd_steps",
    ),
];

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The options that a cell names, without dashes and values.
fn options(cell: &str) -> impl Iterator<Item = &str> {
    quoted(cell).filter_map(|word| word.strip_prefix("--")?.split(' ').next())
}

/// The tests that a row names, each with its file: the one named behind it, or that of the table's head.
fn tests_of<'a>(cell: &'a str, usual: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut tests: Vec<(&str, &str)> = Vec::new();
    for word in quoted(cell) {
        match (word.ends_with(".rs"), tests.last_mut()) {
            (true, Some(last)) => last.1 = word,
            _ => tests.push((word, usual)),
        }
    }
    tests
}

#[test]
fn every_option_has_a_test_that_gives_it_to_the_binary() {
    let page = read(&project().join("docs/src/options.md"));
    for (stage, expected) in OPTIONS {
        let section =
            page.split("\n## ").find(|part| part.starts_with(stage)).expect("a section for the stage");
        let rows: Vec<Vec<&str>> = section
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"))
            .map(|line| line.trim_matches('|').split('|').collect())
            .collect();
        let head = rows[0].last().expect("a head has cells");
        let usual =
            quoted(head).next().and_then(|path| path.strip_prefix("tests/")).expect("the file of the tests");
        for option in expected.split_whitespace() {
            let found = rows[1..].iter().any(|row| options(row[0]).any(|named| named == option));
            assert!(found, "{stage}: options.md has no row for --{option}");
        }
        for row in &rows[1..] {
            let tests = tests_of(row.last().expect("a row has cells"), usual);
            assert!(!tests.is_empty(), "{stage}: no test is named for {}", row[0]);
            let mut texts = String::new();
            for (name, file) in tests {
                let text = read(&project().join("tests").join(file));
                assert!(
                    text.contains(&format!("#[test]\nfn {name}()")),
                    "{stage}: {file} has no test {name}"
                );
                texts.push_str(&text);
            }
            for option in options(row[0]) {
                let given = [option.to_owned(), option.replace('_', "-")]
                    .iter()
                    .any(|spelled| texts.contains(&format!("\"--{spelled}")));
                assert!(given, "{stage}: no test of {} gives --{option}", row[0]);
            }
        }
    }
}

#[test]
fn the_study_of_the_readme_is_valid() {
    let path = project().join("README.md");
    let studies: Vec<Block> = blocks(&path).into_iter().filter(|block| block.is("toml")).collect();
    assert_eq!(studies.len(), 1, "README.md shows one study");
    StudyConfig::parse(&studies[0].text, &project(), &path).expect("a valid study");
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let mut pages = chapters();
    pages.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "benches/README.md"]
            .map(|page| project().join(page)),
    );
    let mut links = 0;
    for page in pages {
        for link in read(&page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let target = link.split('#').next().expect("a split has a first part");
            let file = page.parent().expect("a page is in a folder").join(target);
            assert!(target.is_empty() || file.exists(), "{}: the link {link} leads nowhere", page.display());
            links += 1;
        }
    }
    assert!(links > 20, "only {links} links were found");
}

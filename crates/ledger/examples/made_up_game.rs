//! Records of a made-up game with thousands of contributors, as `tribute export` writes them: input for `tribute-lds`.
//!
//! `cargo run --release -p ledger --example made_up_game -- FILE [CONTRIBUTORS [COALITIONS]]`, 10000 and 20000 when left out.
//! Contributor i of n is worth sin(i); draws have normal noise of standard deviation 1. The draws are of the Shapley distribution;
//! 20 test coalitions of half of the contributors have two repetitions each, with the same noise.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use ledger::{Record, RunKey};
use removal::{Coalition, RemovalDistribution};
use streams::{Streams, standard_normal};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which file? made_up_game FILE [CONTRIBUTORS [COALITIONS]]")?;
    let mut sizes = arguments.map(|argument| argument.parse::<usize>());
    let n = sizes.next().transpose()?.unwrap_or(10_000);
    let draws = sizes.next().transpose()?.unwrap_or(20_000);
    let streams = Streams::new(1);
    let mut file = BufWriter::new(File::create(path)?);
    let mut noise = standard_normal(&mut streams.rng("noise", 0), draws + 40).into_iter();
    let mut put = |method: &str, coalition: Coalition, repetition: u64| -> Result<(), Box<dyn Error>> {
        let worth: f64 = coalition.members().map(|i| (i as f64).sin()).sum();
        let error = if method == "null" { 0.0 } else { noise.next().unwrap_or(0.0) };
        let key = RunKey::new(method, coalition).seed("repetition", repetition);
        let record = Record::new(key)?.behavior("charm", worth + f64::from(error));
        Ok(file.write_all(record.to_text()?.as_bytes())?)
    };
    put("null", Coalition::empty(n), 0)?;
    put("gd", Coalition::full(n), 0)?;
    for k in 0..draws as u64 {
        put("gd", RemovalDistribution::Shapley.draw(n, &streams, k)?.coalition, 0)?;
    }
    let half = RemovalDistribution::Datamodel { alpha: 0.5 };
    for k in 0..20 {
        for repetition in [1, 2] {
            put("retrain", half.draw(n, &streams, k)?.coalition, repetition)?;
        }
    }
    Ok(())
}

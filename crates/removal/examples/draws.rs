//! Prints the first coalitions of a distribution.
//!
//! ```text
//! cargo run -p removal --example draws -- 'datamodel(0.5)' 12 8
//! ```

use removal::{RemovalDistribution, unique_draws};
use std::error::Error;
use streams::Streams;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [distribution, contributors, count] = arguments.as_slice() else {
        return Err("usage: draws DISTRIBUTION CONTRIBUTORS COUNT".into());
    };
    let distribution: RemovalDistribution = distribution.parse()?;
    println!("draw  coalition  members");
    for draw in unique_draws(&distribution, contributors.parse()?, &Streams::new(0), count.parse()?)? {
        let members: Vec<String> = draw.coalition.members().map(|member| member.to_string()).collect();
        println!("{:>4}  {}  {}", draw.index, draw.coalition, members.join(" "));
    }
    Ok(())
}

//! Credits the players of any game: here, who fills a lorry that takes at most 10 tonnes.

use attribution_lds::{AttributionError, FnGame, Game, KernelShap};
use removal::{Coalition, RemovalDistribution};
use streams::Streams;

fn main() -> Result<(), AttributionError> {
    let tonnes = [1.0, 2.0, 3.0, 4.0, 5.0];
    let load = |coalition: &Coalition| coalition.members().map(|i| tonnes[i]).sum::<f64>().min(10.0);
    let game = FnGame::new(tonnes.len(), load);
    let observations = game.observe(RemovalDistribution::Shapley, 500, &Streams::new(42))?;
    let shapley = KernelShap::default().fit(&observations)?;
    for (tonnes, (value, interval)) in tonnes.iter().zip(shapley.values.iter().zip(shapley.intervals())) {
        println!("{tonnes} t: {value:.3}  [{:.3}, {:.3}]", interval.lower, interval.upper);
    }
    Ok(())
}

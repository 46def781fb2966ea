//! The module `tribute._tribute`: NumPy arrays in, the estimators of `attribution-lds`, NumPy arrays out.

mod arrays;
mod attribution;
mod draws;
mod error;
mod estimators;
mod exact;
mod scores;

use pyo3::prelude::*;

#[pymodule]
fn _tribute(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<attribution::Attribution>()?;
    module.add_class::<scores::Lds>()?;
    module.add_class::<scores::LdsDifference>()?;
    module.add_class::<scores::NoiseCeiling>()?;
    module.add_function(wrap_pyfunction!(estimators::shapley, module)?)?;
    module.add_function(wrap_pyfunction!(estimators::datamodel, module)?)?;
    module.add_function(wrap_pyfunction!(estimators::lasso, module)?)?;
    module.add_function(wrap_pyfunction!(estimators::banzhaf, module)?)?;
    module.add_function(wrap_pyfunction!(estimators::fit, module)?)?;
    module.add_function(wrap_pyfunction!(estimators::leave_one_out, module)?)?;
    module.add_function(wrap_pyfunction!(estimators::add_one_in, module)?)?;
    module.add_function(wrap_pyfunction!(exact::exact_shapley, module)?)?;
    module.add_function(wrap_pyfunction!(exact::exact_banzhaf, module)?)?;
    module.add_function(wrap_pyfunction!(scores::lds, module)?)?;
    module.add_function(wrap_pyfunction!(scores::lds_difference, module)?)?;
    module.add_function(wrap_pyfunction!(scores::noise_ceiling, module)?)?;
    module.add_function(wrap_pyfunction!(scores::spearman, module)?)?;
    module.add_function(wrap_pyfunction!(draws::draw, module)?)?;
    Ok(())
}

//! Compares a view with its reference at every closed time.

use headwater_dataflow::repr::{ObjectId, Timestamp};

use super::driver::Driver;
use super::rows::{Rows, difference};
use super::world::Log;

/// Compares `object` with `reference` over the tables that `log` tells of, at every time from `as_of` on, through
/// `last`, given its rows `at_as_of`. Returns how many states were compared; panics with the first difference.
pub(crate) fn check_states(
    what: &str,
    driver: &Driver,
    log: &Log,
    object: ObjectId,
    (at_as_of, last): (&Rows, Timestamp),
    reference: &dyn Fn(&[Rows]) -> Rows,
) -> usize {
    let export = driver.export(object);
    let as_of = export.as_of;
    let mut times = vec![as_of];
    times.extend(log.times().into_iter().filter(|time| *time > as_of && *time <= last));
    let got = export.states(at_as_of, &times);
    let errors = export.error_states(&Rows::new(), &times);
    let tables = log.states(&times);
    for (index, time) in times.iter().enumerate() {
        let said = difference(&reference(&tables[time]), &got[index], 10);
        assert!(said.is_empty(), "{what}: {object} is wrong at {time} (as_of {as_of}):\n{said}");
        assert!(errors[index].is_empty(), "{what}: {object} has errors at {time}: {:?}", errors[index]);
    }
    assert!(driver.violations.is_empty(), "{what}: {:?}", driver.violations);
    times.len()
}

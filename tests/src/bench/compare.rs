//! Whether two runs agree.

use super::results::{NOISE, Report};

/// The ratios of a report that differ from those of `before` by more than the
/// noise, as sentences; `None` where the two do not compare.
///
/// Only ratios are compared: to the ceiling and to the reference of each section.
/// Rates themselves swing with the machine.
pub(crate) fn disagreements(report: &Report, before: &Report) -> Option<Vec<String>> {
    let mut compared = 0;
    let mut found = Vec::new();
    for section in &report.sections {
        let Some(old) = before.sections.iter().find(|old| old.id == section.id) else { continue };
        for row in &section.rows {
            let Some(old_row) = old.row(&row.name, &row.point) else { continue };
            let ratios = [
                ("to the ceiling", section.against_ceiling(row), old.against_ceiling(old_row)),
                (
                    "to the reference",
                    section.against_reference(row),
                    old.against_reference(old_row),
                ),
            ];
            for (name, new, old) in ratios {
                let (Some(new), Some(old)) = (new, old) else { continue };
                compared += 1;
                let apart = (new - old).abs() / new.max(old).max(1e-12);
                if apart > NOISE {
                    let label = row.label();
                    let title = &section.title;
                    found.push(format!("{title}: {label}, ratio {name} {old:.2}, then {new:.2}"));
                }
            }
        }
    }
    (compared > 0).then_some(found)
}

/// What to say of the comparison.
pub(crate) fn sentence(found: &[String], before: &Report) -> String {
    let (date, commit) = (&before.environment.date, &before.environment.commit);
    if found.is_empty() {
        return format!(
            "Every ratio agrees within {:.0} % with the run of {date} (commit {commit}).",
            NOISE * 100.0
        );
    }
    let list: String = found.iter().map(|one| format!("\n- {one}")).collect();
    format!(
        "These ratios differ by more than {:.0} % from the run of {date} (commit {commit}); all \
         others agree:\n{list}",
        NOISE * 100.0
    )
}

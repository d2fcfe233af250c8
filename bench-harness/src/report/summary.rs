//! Results of all repeats, brought together: medians and intervals by scenario, cell and broker.
//!
//! Invariant: cells of one label are compared with each other only, and failed cells give no figure.

use crate::result::{CellResult, RunResult};
use crate::statistics::interval::Interval;

/// A figure of a cell, and which way is better.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) more_is_better: bool,
    pub(crate) of: fn(&CellResult) -> Option<f64>,
}

/// What is summed up, in the order of the columns.
pub(crate) const FIGURES: &[Figure] = &[
    Figure {
        name: "sent",
        unit: "/s",
        more_is_better: true,
        of: |c| (c.seconds > 0.0).then_some(c.messages_per_second),
    },
    Figure {
        name: "received",
        unit: "/s",
        more_is_better: true,
        of: |c| (c.received_per_second > 0.0).then_some(c.received_per_second),
    },
    Figure {
        name: "p50",
        unit: "us",
        more_is_better: false,
        of: |c| Some(c.response.as_ref()?.p50_us),
    },
    Figure {
        name: "p99",
        unit: "us",
        more_is_better: false,
        of: |c| Some(c.response.as_ref()?.p99_us),
    },
    Figure {
        name: "p99.9",
        unit: "us",
        more_is_better: false,
        of: |c| Some(c.response.as_ref()?.p999_us),
    },
    Figure {
        name: "max",
        unit: "us",
        more_is_better: false,
        of: |c| Some(c.response.as_ref()?.max_us),
    },
    Figure {
        name: "end to end p99",
        unit: "us",
        more_is_better: false,
        of: |c| Some(c.end_to_end.as_ref()?.p99_us),
    },
    Figure {
        name: "CPU/message",
        unit: "us",
        more_is_better: false,
        of: |c| {
            c.cost
                .as_ref()
                .filter(|_| c.messages > 1000)
                .map(crate::cost::process::Cost::cpu_us_per_message)
        },
    },
    Figure {
        name: "CPU",
        unit: "%",
        more_is_better: false,
        of: |c| Some(c.cost.as_ref()?.cpu_percent),
    },
    Figure {
        name: "memory",
        unit: "MiB",
        more_is_better: false,
        of: |c| Some(c.cost.as_ref()?.resident_mib),
    },
    Figure {
        name: "syscalls/message",
        unit: "",
        more_is_better: false,
        of: |c| c.counters.as_ref()?.syscalls_per_message,
    },
    Figure {
        name: "messages/sync",
        unit: "",
        more_is_better: true,
        of: |c| c.counters.as_ref()?.messages_per_sync,
    },
    Figure {
        name: "written/byte",
        unit: "",
        more_is_better: false,
        of: |c| c.cost.as_ref()?.written_per_byte,
    },
    Figure {
        name: "knee",
        unit: "/s",
        more_is_better: true,
        of: |c| c.sweep.as_ref()?.knee,
    },
    Figure {
        name: "catch-up",
        unit: "MB/s",
        more_is_better: true,
        of: |c| Some(c.catch_up.as_ref()?.megabytes_per_second),
    },
    Figure {
        name: "p99.9 before",
        unit: "us",
        more_is_better: false,
        of: |c| Some(c.catch_up.as_ref()?.response_before.as_ref()?.p999_us),
    },
    Figure {
        name: "start to port",
        unit: "ms",
        more_is_better: false,
        of: |c| Some(c.restart.as_ref()?.port_ms),
    },
    Figure {
        name: "start to first send",
        unit: "ms",
        more_is_better: false,
        of: |c| Some(c.restart.as_ref()?.first_acknowledgement_ms),
    },
    Figure {
        name: "start to all queues",
        unit: "ms",
        more_is_better: false,
        of: |c| Some(c.restart.as_ref()?.all_queues_ms),
    },
];

/// All repeats of a cell on a broker.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) broker: &'a str,
    pub(crate) cells: Vec<&'a CellResult>,
}

impl Row<'_> {
    /// Over the repeats that did not fail.
    pub(crate) fn figure(&self, figure: &Figure) -> Option<Interval> {
        let sound = self.cells.iter().filter(|cell| cell.failure.is_none());
        let figures: Vec<f64> = sound.filter_map(|cell| (figure.of)(cell)).collect();
        Interval::of(&figures)
    }

    /// Failures and objections, each once.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for cell in &self.cells {
            let failure = cell.failure.iter().map(|why| format!("FAILED: {why}"));
            for remark in failure.chain(cell.objections.iter().cloned()) {
                if !all.contains(&remark) {
                    all.push(remark);
                }
            }
        }
        all
    }
}

/// A cell on every broker.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) scenario: &'a str,
    pub(crate) title: &'a str,
    pub(crate) cell: &'a str,
    pub(crate) rows: Vec<Row<'a>>,
}

/// In the order in which they first ran.
pub(crate) fn groups(results: &[RunResult]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for result in results {
        for cell in &result.cells {
            let found = groups
                .iter()
                .position(|g| g.scenario == result.scenario && g.cell == cell.label);
            let at = found.unwrap_or_else(|| {
                groups.push(Group {
                    scenario: &result.scenario,
                    title: &result.title,
                    cell: &cell.label,
                    rows: Vec::new(),
                });
                groups.len() - 1
            });
            let rows = &mut groups[at].rows;
            match rows
                .iter_mut()
                .find(|row| row.broker == result.broker.label)
            {
                Some(row) => row.cells.push(cell),
                None => rows.push(Row {
                    broker: &result.broker.label,
                    cells: vec![cell],
                }),
            }
        }
    }
    groups
}

/// A number as short as it can be said.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 100_000.0 {
        return format!("{:.0}k", value / 1e3);
    }
    let digits = if size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else {
        usize::from(size >= 1.0) + 1 + usize::from(size < 1.0)
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_three_digits_or_so() {
        for (value, text) in [
            (1_234_567.0, "1235k"),
            (99_999.0, "99999"),
            (123.4, "123"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.1234, "0.12"),
            (0.0, "0.00"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn repeats_of_a_cell_come_together_and_failed_ones_give_no_figure() {
        let cell = |rate: f64, failure: Option<&str>| CellResult {
            label: "c".to_owned(),
            seconds: 1.0,
            messages_per_second: rate,
            failure: failure.map(str::to_owned),
            ..CellResult::empty()
        };
        let cells = [cell(1.0, None), cell(3.0, None), cell(100.0, Some("lost"))];
        let row = Row {
            broker: "b",
            cells: cells.iter().collect(),
        };
        let sent = row.figure(&FIGURES[0]).unwrap();
        assert_eq!((sent.median, sent.runs), (2.0, 2));
        assert_eq!(row.remarks(), ["FAILED: lost"]);
    }
}

//! What the guest's console says, as lines for people.
//!
//! The guest writes `@@` lines among whatever its kernel writes:
//! `@@plan NAME TITLE`, `@@start NAME`, `@@pass NAME SECONDS NOTE`,
//! `@@fail NAME SECONDS NOTE`, `@@link NIC on|off`, `@@done`. Everything between
//! a scenario's start and its end is its log.

/// What the machine must do about a line.
pub(super) enum Event {
    /// Plug or pull a cable.
    SetLink {
        /// The NIC.
        nic: String,
        /// Whether the cable is in.
        up: bool,
    },
    /// The guest has run everything.
    Done,
}

/// The scenarios of one kernel.
#[derive(Default)]
pub(super) struct Report {
    scenarios: Vec<Scenario>,
    console: Vec<String>,
    /// Where in `console` the running scenario's log begins.
    log_start: usize,
}

struct Scenario {
    name: String,
    title: String,
    passed: Option<bool>,
}

impl Report {
    /// Takes a line of the console; prints the result of a scenario that ended.
    pub(super) fn take(&mut self, line: &str) -> Option<Event> {
        self.console.push(line.to_owned());
        // A kernel message may stand before it, on the same line.
        let command = &line[line.find("@@")? + 2..];
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "plan" => self.scenarios.push(Scenario {
                name: name.to_owned(),
                title: rest.to_owned(),
                passed: None,
            }),
            "start" => self.log_start = self.console.len(),
            "pass" | "fail" => self.end(name, rest, verb == "pass"),
            "link" => return Some(Event::SetLink { nic: name.to_owned(), up: rest == "on" }),
            "done" => return Some(Event::Done),
            _ => {}
        }
        None
    }

    /// Fails what has no result, since `end` came first, and returns how many
    /// scenarios failed.
    pub(super) fn finish(&mut self, end: &str) -> usize {
        let unfinished: Vec<String> = self
            .scenarios
            .iter()
            .filter(|scenario| scenario.passed.is_none())
            .map(|scenario| scenario.name.clone())
            .collect();
        for (at, name) in unfinished.iter().enumerate() {
            let log_start = if at == 0 { self.log_start } else { self.console.len() };
            self.log_start = log_start.max(self.console.len().saturating_sub(LOG_LINES));
            self.end(name, &format!("- {end}"), false);
        }
        if self.scenarios.is_empty() {
            println!("  FAIL  no scenario ran: {end}");
            self.print_log(self.console.len().saturating_sub(LOG_LINES));
            return 1;
        }
        self.scenarios.len() - self.passed()
    }

    /// How many scenarios passed.
    pub(super) fn passed(&self) -> usize {
        self.scenarios.iter().filter(|scenario| scenario.passed == Some(true)).count()
    }

    /// All that the console said.
    pub(super) fn console(&self) -> String {
        self.console.join("\n")
    }

    fn end(&mut self, name: &str, rest: &str, passed: bool) {
        let (seconds, note) = rest.split_once(' ').unwrap_or((rest, ""));
        let Some(scenario) = self.scenarios.iter_mut().find(|scenario| scenario.name == name)
        else {
            return;
        };
        scenario.passed = Some(passed);
        let verdict = if passed { "PASS" } else { "FAIL" };
        let Scenario { name, title, .. } = scenario;
        let note = if note.is_empty() { String::new() } else { format!(" [{note}]") };
        println!("  {verdict}  {name:<19} {seconds:>3} s  {title}{note}");
        if !passed {
            self.print_log(self.log_start);
        }
    }

    fn print_log(&self, from: usize) {
        for line in self.console.iter().skip(from) {
            println!("        | {line}");
        }
    }
}

/// Lines of the console to print where no scenario was running.
const LOG_LINES: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            assert!(report.take(line).is_none());
        }
        report
    }

    #[test]
    fn a_planned_scenario_without_a_result_has_failed() {
        let mut report = report(&["@@plan a A", "@@plan b B", "@@start a", "@@pass a 3"]);
        assert_eq!(report.finish("the emulator ended early"), 1);
        assert_eq!(report.passed(), 1);
    }

    #[test]
    fn a_guest_that_plans_nothing_has_failed() {
        assert_eq!(report(&["Kernel panic"]).finish("the emulator ended early"), 1);
    }

    #[test]
    fn a_result_is_found_behind_a_kernel_message_on_its_line() {
        let mut report = report(&["@@plan a A", "[  3.1] link up@@pass a 3 fine"]);
        assert_eq!(report.finish("the guest was done"), 0);
    }

    #[test]
    fn a_cable_request_names_its_nic() {
        let event = Report::default().take("@@link ag-bond0 off");
        assert!(matches!(event, Some(Event::SetLink { nic, up: false }) if nic == "ag-bond0"));
    }
}

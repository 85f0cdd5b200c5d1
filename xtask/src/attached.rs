//! Attached environments: the plan of their drill, and what killed runs left of their sources.

use crate::exit::ExitCode;
use crate::{drill, refuse, report};
use recovery_drills::drills::attached::hold::HoldRecord;
use recovery_drills::drills::attached::{preflight, resume};
use recovery_drills::drills::context::{DrillRequest, chain};
use recovery_drills::verify::views::FILE_NAME;
use std::path::Path;

/// Prints what the drill would do; exit 2 where it could not be done.
pub(crate) fn plan(request: &DrillRequest) -> ExitCode {
    if request.attached.is_none() {
        let message = "--plan is for attached environments; other drills touch nothing but what they made themselves";
        return refuse(ExitCode::Usage, message);
    }
    let runtime = match drill::runtime() {
        Ok(runtime) => runtime,
        Err(message) => return refuse(ExitCode::Inconclusive, &message),
    };
    let found = runtime.block_on(preflight::look(request));
    if let Some(source) = &found.source {
        for (at, step) in preflight::steps(request, source).iter().enumerate() {
            println!("{:>2}. {step}", at + 1);
        }
    }
    if found.problems.is_empty() {
        println!("nothing was done; the preflight found nothing that is in the way");
        return ExitCode::Pass;
    }
    refuse(ExitCode::Usage, &found.problems.join("\nerror: "))
}

/// Starts every source again that a killed run left, and closes those runs; exit 1 where one stays down.
pub(crate) fn resume(reports: &Path) -> ExitCode {
    let found = resume::broken();
    if found.is_empty() {
        println!("ok   no killed run left a source");
        return ExitCode::Pass;
    }
    let mut code = ExitCode::Pass;
    for record in found {
        let told = record
            .map_err(|error| chain(&error))
            .and_then(|record| one(record, reports));
        match told {
            Ok(line) => println!("ok   {line}"),
            Err(message) => code = refuse(ExitCode::Fail, &message),
        }
    }
    code
}

/// Brings one source back and writes the report of its run; what was done, in a line.
pub(crate) fn one(record: HoldRecord, reports: &Path) -> Result<String, String> {
    let (run, environment) = (record.run.clone(), record.source.environment.clone());
    let resumed = drill::runtime()?.block_on(resume::resume(record));
    let resumed = resumed.map_err(|error| format!("run {run}, environment {environment}: {}", chain(&error)))?;
    if let Some(evidence) = &resumed.evidence {
        report::write(evidence, &resumed.folder.join(FILE_NAME))?;
        report::write(evidence, &reports.join(report::file_of(&evidence.run.drill)))?;
    }
    Ok(format!(
        "the source {environment} of the killed run {run}: {}",
        resumed.done
    ))
}

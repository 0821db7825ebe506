//! `sluice doctor`: the findings, for people.

use crate::controller::doctor::{Finding, Remedy, Report, Severity};

/// The findings in their order, and what they come to.
pub(super) fn render(report: &Report) -> String {
    let mut text: String = report.findings.iter().map(finding).collect();
    let of = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let (required, advisable) = (of(Severity::Required), of(Severity::Advisable));
    let examined = report.examined.join(", ");
    text += &match (required, advisable) {
        (0, 0) => format!("{examined}: nothing is missing\n"),
        (0, advisable) => format!("{examined}: nothing that is required is missing, {advisable} advisable\n"),
        (required, advisable) => format!("{examined}: {required} required, {advisable} advisable\n"),
    };
    text
}

fn finding(finding: &Finding) -> String {
    let Finding { instance, severity, what, why, remedies, by_sluice, .. } = finding;
    let severity = match severity {
        Severity::Required => "REQUIRED",
        Severity::Advisable => "advisable",
    };
    let mut text = format!("{instance}  {severity}: {what}\n    why: {why}\n");
    if *by_sluice {
        text += "    a running Sluice that has adopted the cluster does this by itself; by hand:\n";
    }
    for remedy in remedies {
        text += &match remedy {
            Remedy::Statement(statement) => format!("    {statement};\n"),
            Remedy::MyCnf(line) => format!("    in its my.cnf, then a restart: {line}\n"),
            Remedy::Restart => "    then restart it\n".to_owned(),
            Remedy::Do(what) => format!("    {what}\n"),
        };
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_written_with_reason_and_remedy() {
        let report = Report {
            examined: vec!["db1".into(), "db2".into()],
            findings: vec![Finding {
                instance: "db1".into(),
                check: "sync_binlog".into(),
                severity: Severity::Required,
                what: "sync_binlog is 0, not 1".into(),
                why: "a crash loses it".into(),
                remedies: vec![Remedy::Statement("SET PERSIST sync_binlog=1".into()), Remedy::Restart],
                by_sluice: false,
            }],
        };
        let expected = "\
db1  REQUIRED: sync_binlog is 0, not 1
    why: a crash loses it
    SET PERSIST sync_binlog=1;
    then restart it

db1, db2: 1 required, 0 advisable
";
        assert_eq!(render(&report), expected);
        let well = Report { findings: Vec::new(), ..report };
        assert_eq!(render(&well), "db1, db2: nothing is missing\n");
    }
}

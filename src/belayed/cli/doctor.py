"""`doctor`: looks at all that must be right for jobs to run, and says what is not."""

from __future__ import annotations

import click

from belayed import printable
from belayed.cli.app import Place, options
from belayed.cli.checks import all_findings
from belayed.cli.show import echo_json, grid, json_option, styled
from belayed.store.findings import Finding, Result


@click.command()
@json_option
@options
@click.pass_obj
def doctor(place: Place, as_json: bool) -> None:
    """Check that jobs can run, and say what to mend.

    It looks at the database, the application, the clock, the workers and the queues, and exits with 1 if a check fails.
    """
    findings = all_findings(place)
    failed = any(finding.result is Result.FAIL for finding in findings)
    if as_json:
        echo_json(
            {
                "ok": not failed,
                "checks": [
                    {
                        "check": finding.check,
                        "result": finding.result.value,
                        "text": finding.text,
                        "fix": finding.fix or None,
                    }
                    for finding in findings
                ],
            }
        )
    else:
        show(findings)
    if failed:
        click.get_current_context().exit(1)


def show(findings: list[Finding]) -> None:
    """A line for each finding, and how to mend it."""
    rows = []
    for finding in findings:
        # In a line each: what is found may be named by a row, and must not look like a fix.
        text = styled(printable.line(finding.text), "")
        if finding.fix:
            text += styled(f"\nfix: {printable.line(finding.fix)}", "bold")
        rows.append((styled(finding.result.value), finding.check, text))
    grid(rows)

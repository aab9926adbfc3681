"""`kerora doctor`: check the installation and the machine."""

import json

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> None:
    """Check versions, backend, device, precision, caches and disk. The exit code is 2 if a check fails."""
    from rich.console import Console
    from rich.text import Text

    from kerora.doctor import examine
    from kerora.evaluation.terminal import plain_table

    findings = examine()
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], ensure_ascii=False))
    else:
        table = plain_table("", "what", "found", "what to do", justify="left")
        for finding in findings:
            # Text, because rich would read square brackets in a path as markup.
            table.add_row("ok" if finding.good else "!!", finding.what, Text(finding.found), Text(finding.remedy))
        Console().print(table)
    # The code of a wrong input, as for other faults that the user can mend.
    if not all(finding.good for finding in findings):
        click.get_current_context().exit(2)

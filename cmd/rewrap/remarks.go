package main

import (
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/cmd/rewrap/internal/setup"
	"rewrap/engine"
)

// remark prints, before the summary, why items failed or were skipped, and names
// that may be misspelled.
func remark(say setup.Say, se *setup.Session, rep engine.Report, err error, reasons report.Reasons, fields report.Fields) {
	reasons.Say(say)
	// A run over a misspelled prefix is complete too: it has no items.
	if rep.Items.Seen == 0 && rep.Result == engine.ResultComplete {
		say("no item at all in %s: is that the right name?", se.Job.Place)
	}
	sawAll := err == nil && rep.Result != engine.ResultStopped && !rep.Resumed && rep.Items.Seen > 0
	if sawAll && !reasons.Unseen() {
		unmet(say, fields.Unmet(se.Job.Format.Fields), "no item")
	}
}

// unmet names the places that were in none of the items. They may be misspelled.
func unmet(say setup.Say, fields []string, where string) {
	for _, field := range fields {
		say("--json-field %s was found in %s", field, where)
	}
}

package main

import (
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/cmd/rewrap/internal/setup"
	"rewrap/engine"
)

// remark tells people before the summary why items were left, and what looks
// like a slip.
func remark(say setup.Say, se *setup.Session, rep engine.Report, err error, why report.Left, met report.Fields) {
	why.Say(say)
	// A misspelled prefix is as complete as an empty one.
	if rep.Items.Seen == 0 && rep.Result == engine.ResultComplete {
		say("no item at all in %s: is that the right name?", se.Job.Place)
	}
	sawAll := err == nil && rep.Result != engine.ResultStopped && !rep.Resumed && rep.Items.Seen > 0
	if sawAll && !why.Unseen() {
		unmet(say, met.Unmet(se.Job.Format.Fields), "no item")
	}
}

// unmet names the places that were in no item, or in few. They may be
// misspelled.
func unmet(say setup.Say, fields []string, where string) {
	for _, field := range fields {
		say("--json-field %s was found in %s", field, where)
	}
}

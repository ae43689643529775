package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"

	"rewrap/checkpoint"
	"rewrap/cmd/rewrap/internal/report"
	"rewrap/cmd/rewrap/internal/setup"
)

// describe prints what the run will do, before the question.
func describe(w io.Writer, se *setup.Session) {
	j := se.Job
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, report.OneLine(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintln(w, "rewrap will change wrapped keys:")
	for _, f := range j.Identity() {
		row(f.Name, "%s", f.Value)
	}
	if e := se.Source.Endpoint; e != "" {
		row("endpoint", "%s", e)
	}
	for _, r := range se.Keys.Lines() {
		row(r[0], "%s", r[1])
	}
	if b := se.Base64; b != nil {
		row("base64", "%s", b)
	}
	row("verify", "%s", j.Keys.Verify)
	row("pace", "%d key calls at once, KMS %s requests/s, store %s requests/s", j.Pace.Workers, j.Pace.KMS.String(), j.Pace.Store.String())
	row("state", "%s (%s)", se.Dir, before(se))
	_ = t.Flush()
}

// before says what is in the state directory already.
func before(se *setup.Session) string {
	st, err := checkpoint.Read(se.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "new"
	case err != nil:
		return err.Error()
	case se.Job.State.Restart:
		return "a new pass, as asked"
	case st.Snapshot.Ended:
		return "a new pass; the last one has ended"
	}
	return "resumes after " + report.Items(st.Snapshot.Tally.Items.Seen)
}

var errNotConfirmed = errors.New("not confirmed; nothing was changed")

// confirm asks on the terminal. Anything but y or yes is no.
func confirm(ctx context.Context, s streams) bool {
	fmt.Fprint(s.err, "Go on? [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(s.in).ReadString('\n')
		if err != nil { // Ctrl-D leaves the cursor behind the question
			fmt.Fprintln(s.err)
		}
		answer <- line
	}()
	select {
	case a := <-answer:
		a = strings.ToLower(strings.TrimSpace(a))
		return a == "y" || a == "yes"
	case <-ctx.Done():
		fmt.Fprintln(s.err)
		return false
	}
}

package report

import (
	"errors"
	"fmt"
	"testing"

	"rewrap/bench/emulator/emulatortest"
	"rewrap/checkpoint/account"
	"rewrap/engine"
	"rewrap/sources"
)

func TestReasonsSay(t *testing.T) {
	t.Parallel()
	for reasons, last := range map[int]string{
		3: `1 item failed or skipped for the reason "2", for example p/00002: broken`,
		4: "other items failed or were skipped for 1 reason more",
		5: "other items failed or were skipped for 2 reasons more",
	} {
		l := make(Reasons)
		for i := range reasons {
			for range 1 + max(2-i, 0) {
				l.Observe(engine.Event{Ref: sources.Ref{ID: emulatortest.Name(i)}, Outcome: account.Failed, Reason: fmt.Sprint(i), Err: errors.New("broken")})
			}
		}
		var said []string
		l.Say(func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
		if first := `3 items failed or skipped for the reason "0", for example p/00000: broken`; len(said) < 3 || said[0] != first || said[len(said)-1] != last {
			t.Errorf("%d reasons: %q", reasons, said)
		}
	}
}

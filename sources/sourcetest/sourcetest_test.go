package sourcetest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"rewrap/sources/sourcetest"
)

// TestMemory: a source without a defect passes, or, in the processes that
// TestDefects starts, is shown to the suite with the one in the environment.
func TestMemory(t *testing.T) {
	sourcetest.Run(t, harness(os.Getenv("SOURCETEST_DEFECT")))
}

// TestDefects: each defect is found, by the test that is about it.
func TestDefects(t *testing.T) {
	if os.Getenv("SOURCETEST_DEFECT") != "" {
		t.Skip("this process is one of the defects")
	}
	for defect, found := range map[string]string{
		"spans closed at the end":            "SpansDisjointAndComplete",
		"too many spans":                     "SpansDisjointAndComplete",
		"spans overlap":                      "SpansDisjointAndComplete",
		"spans with a hole":                  "SpansDisjointAndComplete",
		"span ids repeat":                    "SpansDisjointAndComplete",
		"lists by birth":                     "ListResumes",
		"lists another time":                 "ListEachOnce",
		"resumes at the cursor":              "ListResumes",
		"skips one after the cursor":         "ListResumes",
		"cannot resume at a deleted item":    "ListResumes",
		"a cancelled listing just ends":      "ListStops",
		"trims names":                        "OddNames",
		"does not list empty bodies":         "ReadHead",
		"reads no more than 9":               "ReadHead",
		"size is that of the head":           "ReadHead",
		"empty metadata is lost":             "ReadMeta",
		"a missing item is any error":        "ReadGone",
		"a cancelled read finds nothing":     "ReadGone",
		"reads twice":                        "ReadOneRevision",
		"the revision tells the size only":   "ApplyMeta",
		"plan writes":                        "PlanWritesNothing",
		"waits for ever":                     "PlanWritesNothing",
		"unconditional":                      "PlanWritesNothing",
		"takes any splice":                   "Unsupported",
		"cannot delete metadata":             "ApplyMeta",
		"replaces all metadata":              "ApplyMeta",
		"loses attributes":                   "ApplyMeta",
		"leaves a file behind":               "ApplyMeta",
		"names the old revision":             "ApplyMeta",
		"splices at shifted offsets":         "ApplySplices",
		"one splice only":                    "ApplySplices",
		"meta and body do not go together":   "ApplyBoth",
		"large bodies are cut":               "ApplyLargeBody",
		"an apply twice lands":               "ApplyTwice",
		"no condition":                       "ConflictContent",
		"a condition on the body":            "ConflictMeta",
		"a condition on the size":            "ConflictSameSize",
		"a race between condition and write": "ApplyAtOnce",
		"a conflict is any error":            "ConflictContent",
		"a conflict leaves a trace":          "ConflictContent",
		"writes what is gone":                "ConflictDelete",
		"gone is a conflict":                 "ConflictDelete",
		"a cancelled context writes":         "Cancelled",
	} {
		t.Run(defect, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$", "-test.v")
			cmd.Env = append(os.Environ(), "SOURCETEST_DEFECT="+defect)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the suite passes a source whose defect is: %s", defect)
			}
			if !strings.Contains(string(out), "--- FAIL: TestMemory/"+found+" ") {
				t.Errorf("%s does not find it; the suite says:\n%s", found, out)
			}
		})
	}
}

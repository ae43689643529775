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

// defects are what can be wrong with a source, and the test that has to find it.
var defects = map[string]string{
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

	"works before Begin":        "NotBegun",
	"Begin with Look writes":    "BeginLook",
	"a look lets Apply through": "BeginLook",
	"begins to write once only": "BeginWrite",
	"Begin touches items":       "BeginWrite",
	"Begin leaves an item":      "BeginWrite",
	"Finish undoes":             "Finish",
	"Finish leaves an item":     "Finish",
	"finishes once only":        "Finish",
	"works after Close":         "Close",
	"Close fails":               "Close",
	"applies what is assumed":   "Assumed",
	"plan leaves a mark":        "PlanWritesNothing",
	"takes a body and splices":  "Unsupported",

	"no names":                               "Name",
	"names change with the revision":         "Name",
	"a view forgets its name":                "Name",
	"brings old items along":                 "RefView",
	"brings items without metadata":          "RefView",
	"brings the heads of items only":         "RefView",
	"brings items that cannot be planned on": "RefView",

	"the cost lacks a request":              "Cost",
	"the cost has a request too many":       "Cost",
	"the cost is that of the old body":      "Cost",
	"the cost lacks what is fetched":        "Cost",
	"no undo":                               "Undo",
	"two undos":                             "Undo",
	"the undo forgets what was deleted":     "Undo",
	"the undo leaves what was added":        "Undo",
	"the undo is at the old offsets":        "Undo",
	"an undo that could be had is not":      "Undo",
	"an undo of what was not read":          "UndoUnread",
	"an undo by a version that is not kept": "UndoUnread",

	"the store key is not shown":              "ApplyStore",
	"a store key is not moved with the rest":  "ApplyStore",
	"the store key is lost":                   "ApplyStore",
	"metadata is not changed with a new body": "ApplyBody",
	"makes the new body of the head":          "ApplyBody",
	"takes any new body":                      "BodyRefused",
	"a new body lands over another":           "BodyRefused",
}

// TestDefects: each defect is found, by the test that is about it.
func TestDefects(t *testing.T) {
	if os.Getenv("SOURCETEST_DEFECT") != "" {
		t.Skip("this process is one of the defects")
	}
	for defect, found := range defects {
		t.Run(defect, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$/^"+found+"$", "-test.v")
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

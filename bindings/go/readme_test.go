package metaxy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What the README shows is compiled and run: its program is quickstart/main.go, all else is in an example.
func TestTheReadmeShowsWhatIsTested(t *testing.T) {
	read := func(path string) string { return string(must[[]byte](t)(os.ReadFile(path))) }
	program, examples := read("quickstart/main.go"), []string{}
	for _, line := range strings.Split(read("example_test.go"), "\n") {
		examples = append(examples, strings.TrimLeft(line, "\t"))
	}
	tested := strings.Join(examples, "\n")
	shown := 0
	for _, block := range strings.Split(read("README.md"), "```go\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		if block == program {
			shown++
			continue
		}
		lines := strings.Split(block, "\n")
		for i := range lines {
			lines[i] = strings.TrimLeft(lines[i], "\t")
		}
		if !strings.Contains(tested, strings.Join(lines, "\n")) {
			t.Errorf("no example has\n%s", block)
		}
		shown++
	}
	if shown < 7 {
		t.Fatal(shown)
	}
}

// A new program beside a checkout is made by the first commands of the README, without asking any server.
func TestANewProgramFindsTheModule(t *testing.T) {
	directory := t.TempDir()
	check(t, os.Symlink(must[string](t)(filepath.Abs("../..")), filepath.Join(directory, "libmetaxy")))
	page := string(must[[]byte](t)(os.ReadFile("README.md")))
	_, commands, _ := strings.Cut(page, "```sh\n")
	commands, _, _ = strings.Cut(commands, "```")
	source := must[string](t)(filepath.Abs("quickstart/main.go"))
	shell := exec.Command("bash", "-euxc", commands+"cp \"$1\" main.go && go build -o hello && ./hello", "bash", source)
	shell.Dir = directory
	shell.Env = append(os.Environ(), "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
	output, err := shell.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "\nintro a-02 ") {
		t.Fatalf("%v\n%s", err, output)
	}
}

func TestTheQuickstartPrintsItsRows(t *testing.T) {
	directory := t.TempDir()
	program := filepath.Join(directory, "quickstart")
	if output, err := exec.Command("go", "build", "-o", program, "./quickstart").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for range 2 {
		run := exec.Command(program)
		run.Dir = directory
		output := string(must[[]byte](t)(run.CombinedOutput()))
		if strings.Count(output, "\n") != 2 || !strings.Contains(output, "intro a-02 ") {
			t.Fatal(output)
		}
	}
}

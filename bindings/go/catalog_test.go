package metaxy_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libmetaxy/metaxy-go"
)

func TestTheStatusesAreThoseOfTheLibrary(t *testing.T) {
	equal(t, len(metaxy.Statuses), metaxy.LibraryStatuses())
	for i, status := range metaxy.Statuses {
		equal(t, int(status), i+1)
		if !strings.HasPrefix(status.Error(), "METAXY_") {
			t.Fatal(status)
		}
	}
	equal(t, metaxy.NotFound.Error(), "METAXY_NOT_FOUND")
	equal(t, metaxy.Status(99).Error(), "METAXY_STATUS_99")
	equal(t, metaxy.ABIVersion(), metaxy.HeaderABIVersion)
}

func TestAnErrorTellsItsFacts(t *testing.T) {
	store := open(t)
	_, err := store.Read(t.Context(), "no/such")
	var failed *metaxy.Error
	if !errors.Is(err, metaxy.NotFound) || errors.Is(err, metaxy.Conflict) || !errors.As(err, &failed) {
		t.Fatal(err)
	}
	equal(t, failed.Status, metaxy.NotFound)
	equal(t, failed.Details["feature"], "no/such")
	equal(t, failed.Retryable, false)
	if !strings.Contains(failed.Message, "no/such") {
		t.Fatal(failed.Message)
	}
	if _, err := metaxy.Open(t.Context(), t.TempDir(), metaxy.With("mod", "read")); !errors.Is(err, metaxy.InvalidArgument) ||
		!strings.Contains(err.Error(), "mode") {
		t.Fatal(err)
	}
	if _, err := metaxy.Open(t.Context(), filepath.Join(t.TempDir(), "none"), metaxy.ReadOnly()); !errors.Is(err, metaxy.NotFound) {
		t.Fatal(err)
	}
}

func TestArgumentsThatCCannotHave(t *testing.T) {
	store := open(t)
	for name, use := range map[string]func() error{
		"text":    func() error { _, err := store.Has(t.Context(), "a\x00b"); return err },
		"option":  func() error { _, err := metaxy.Open(t.Context(), t.TempDir(), metaxy.Name("a\x00")); return err },
		"columns": func() error { _, err := store.Read(t.Context(), "example/video", metaxy.Columns()); return err },
		"batch":   func() error { _, err := store.Read(t.Context(), "example/video", metaxy.BatchRows(-1)); return err },
		"limit":   func() error { _, err := store.Read(t.Context(), "example/video", metaxy.Limit(-7)); return err },
		"context": func() error { _, err := store.List(nil); return err }, //nolint:staticcheck
		"utf-8":   func() error { _, err := store.Has(t.Context(), "a\xff"); return err },
	} {
		if err := use(); !errors.Is(err, metaxy.InvalidArgument) {
			t.Fatal(name, err)
		}
	}
}

func TestAChainTellsWhoServes(t *testing.T) {
	production := open(t, metaxy.Name("production"))
	check(t, production.WriteBatch(t.Context(), "example/video", videos("a")))
	dev := must[*metaxy.Store](t)(metaxy.OpenChain(t.Context(), t.TempDir(), []*metaxy.Store{production}, metaxy.Name("dev")))
	check(t, production.Close())
	defer dev.Close()
	check(t, dev.Define(video))
	if !strings.HasPrefix(dev.String(), "[dev] ") {
		t.Fatal(dev)
	}
	equal(t, ids(t, dev), "a")
	rows := must[*metaxy.Rows](t)(dev.Read(t.Context(), "example/video"))
	defer rows.Release()
	for _, servings := range [][]metaxy.Serving{
		must[[]metaxy.Serving](t)(rows.ServedBy()), must[[]metaxy.Serving](t)(dev.Find(t.Context(), "example/video")),
	} {
		equal(t, len(servings), 2)
		equal(t, servings[0].Outcome+" "+servings[1].Outcome, "absent served")
		equal(t, servings[1].Store, "production")
	}
	if _, err := dev.Read(t.Context(), "example/video", metaxy.NoFallback()); !errors.Is(err, metaxy.NotFound) {
		t.Fatal(err)
	}
	if _, err := metaxy.OpenChain(t.Context(), t.TempDir(), []*metaxy.Store{nil}); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
}

func TestStoresByName(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "metaxy.toml")
	check(t, os.WriteFile(file, []byte(`
project = "example"
store = "dev"
[stores.dev]
type = "metaxy.metadata_store.lancedb.LanceDBMetadataStore"
config = { uri = "`+directory+`/dev", fallback_stores = ["prod"] }
[stores.prod]
type = "metaxy.metadata_store.lancedb.LanceDBMetadataStore"
config = { uri = "`+directory+`/prod" }
`), 0o600))
	config := must[*metaxy.Config](t)(metaxy.LoadConfig(file))
	stores := must[[]metaxy.ConfiguredStore](t)(config.Stores())
	equal(t, len(stores), 2)
	equal(t, stores[0].FallbackStores, []string{"prod"})
	equal(t, stores[0].IsDefault, true)
	prod := must[*metaxy.Store](t)(config.Open(t.Context(), "prod"))
	check(t, prod.Define(video))
	check(t, prod.WriteBatch(t.Context(), "example/video", videos("a")))
	check(t, prod.Close())
	dev := must[*metaxy.Store](t)(config.Open(t.Context(), ""))
	check(t, config.Close())
	check(t, config.Close())
	check(t, dev.Define(video))
	equal(t, ids(t, dev), "a")
	check(t, dev.Close())
	if _, err := config.Open(t.Context(), "dev"); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := metaxy.LoadConfig(filepath.Join(directory, "none.toml")); !errors.Is(err, metaxy.NotFound) {
		t.Fatal(err)
	}
}

func TestWhatIsInAStore(t *testing.T) {
	store := open(t)
	check(t, store.WriteBatch(t.Context(), "example/video", videos("a", "b")))
	equal(t, must[uint64](t)(store.Delete(t.Context(), "example/video", metaxy.Where("id = 'a'"))), 1)
	features := must[[]metaxy.Feature](t)(store.Features(t.Context()))
	equal(t, len(features), 2)
	equal(t, features[1].Key, "example/video")
	equal(t, features[1].IDColumns, []string{"id"})
	equal(t, features[1].Fields[0].Key, "audio")
	tables := must[[]metaxy.Table](t)(store.List(t.Context()))
	equal(t, tables[0].Feature, "example/video")
	equal(t, *tables[0].Rows, 3)
	if tables[0].LastWrite.IsZero() || tables[0].Problem != "" {
		t.Fatal(tables[0])
	}
	versions := must[[]metaxy.Version](t)(store.Describe(t.Context(), "example/video"))
	equal(t, len(versions), 1)
	equal(t, versions[0].FeatureVersion, features[1].FeatureVersion)
	equal(t, *versions[0].IsCurrent, true)
	equal(t, *versions[0].Samples, 1)
	equal(t, *versions[0].Deleted, 1)
	equal(t, versions[0].Columns[0], metaxy.Column{Name: "id", Type: versions[0].Columns[0].Type})
	known := must[[]metaxy.KnownOption](t)(metaxy.Options())
	if len(known) < 10 || known[0].Description == "" {
		t.Fatal(known)
	}
}

func TestDeletesAndUpkeep(t *testing.T) {
	store, other := open(t), open(t)
	for _, id := range []string{"a", "b", "c"} {
		check(t, store.WriteBatch(t.Context(), "example/video", videos(id)))
	}
	if _, err := store.Delete(t.Context(), "example/video"); !errors.Is(err, metaxy.InvalidArgument) {
		t.Fatal(err)
	}
	equal(t, must[uint64](t)(store.Delete(t.Context(), "example/video", metaxy.Where("id = 'a'"))), 1)
	equal(t, ids(t, store), "b c")
	equal(t, ids(t, store, metaxy.WithDeleted()), "a b c")
	copied := must[[]metaxy.Copied](t)(store.CopyTo(t.Context(), other, nil, metaxy.SampleHistory(), metaxy.FeatureHistory()))
	equal(t, copied[0].RowsCopied, 4)
	equal(t, ids(t, other), "b c")
	compacted := must[[]metaxy.Compacted](t)(store.Compact(t.Context(), ""))
	if compacted[0].FragmentsAfter >= compacted[0].FragmentsBefore {
		t.Fatal(compacted)
	}
	hard := []metaxy.RequestOption{metaxy.Where("id = 'b'"), metaxy.With("delete.mode", "hard")}
	equal(t, must[uint64](t)(store.Delete(t.Context(), "example/video", hard...)), 1)
	equal(t, ids(t, store, metaxy.SampleHistory(), metaxy.WithDeleted()), "a a c")
	equal(t, must[[]metaxy.Purged](t)(store.Purge(t.Context(), "example/video", metaxy.With("purge.older_than_ms", "0")))[0].RowsRemoved, 2)
	pruned := must[[]metaxy.Pruned](t)(store.Prune(t.Context(), "example/video", metaxy.With("prune.older_than_ms", "0")))
	if pruned[0].VersionsRemoved == 0 {
		t.Fatal(pruned)
	}
	equal(t, must[bool](t)(store.Drop(t.Context(), "example/video")), true)
	equal(t, must[bool](t)(store.Drop(t.Context(), "example/video")), false)
}

func TestDefinitionsArePushedAndLoaded(t *testing.T) {
	directory := t.TempDir()
	store := openAt(t, directory)
	pushed := must[[]metaxy.Pushed](t)(store.Push(t.Context(), "example", map[string]string{"commit": "1f2e"}))
	equal(t, len(pushed), 2)
	equal(t, pushed[0].Written, true)
	worker := must[*metaxy.Store](t)(metaxy.Open(t.Context(), directory))
	defer worker.Close()
	loaded := must[[]metaxy.Loaded](t)(worker.Load(t.Context(), metaxy.Selection{Features: []string{"example/crop"}}))
	equal(t, len(loaded), 2)
	equal(t, loaded[0].Problem, "")
	if loaded[0].RecordedAt.IsZero() {
		t.Fatal(loaded)
	}

	before := must[*metaxy.Graph](t)(worker.PushedGraph(t.Context(), metaxy.Selection{Project: "example"}))
	defer before.Close()
	check(t, worker.Define(strings.Replace(video, `{"key": "audio"}`, `{"key": "audio", "code_version": "2"}`, 1)))
	after := must[*metaxy.Graph](t)(worker.Graph(t.Context()))
	defer after.Close()
	type difference struct {
		Feature    string `arrow:"feature"`
		Difference string `arrow:"difference"`
		Stale      bool   `arrow:"stale"`
	}
	differences := must[[]difference](t)(metaxy.Collect[difference](must[*metaxy.Rows](t)(after.Difference(before))))
	equal(t, differences, []difference{{"example/video", "changed", true}, {"example/crop", "upstream", true}})
	if drawn := must[string](t)(after.Render("mermaid", before)); !strings.Contains(drawn, "example/crop") {
		t.Fatal(drawn)
	}
	dependencies := must[*metaxy.Rows](t)(after.Dependencies())
	defer dependencies.Release()
	equal(t, dependencies.Next(), true)
	again := must[*metaxy.Graph](t)(metaxy.NewGraph(must[string](t)(after.JSON())))
	equal(t, must[[]metaxy.GraphFeature](t)(again.Features())[1].DependsOn, []string{"example/video"})
	check(t, again.Close())
	if _, err := again.JSON(); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := after.Render("mermaid", again); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
}

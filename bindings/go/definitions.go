package metaxy

// #include <metaxy.h>
import "C"

import (
	"context"
	"encoding/json"
	"runtime"
	"time"
)

// Pushed is a feature of a project that was pushed; Written says whether its definition was written by this push.
type Pushed struct {
	Feature           string `arrow:"feature"`
	Project           string `arrow:"project"`
	FeatureVersion    string `arrow:"feature_version"`
	DefinitionVersion string `arrow:"definition_version"`
	ProjectVersion    string `arrow:"project_version"`
	Written           bool   `arrow:"pushed"`
}

// Push pushes the definitions of a project to the store, where Load and Python find them. An empty project is that of
// the store, or else the only one there is. The tags are kept with what is written, and may be nil.
func (s *Store) Push(ctx context.Context, project string, tags map[string]string) ([]Pushed, error) {
	text := ""
	if len(tags) > 0 {
		encoded, err := json.Marshal(tags)
		if err != nil {
			return nil, err
		}
		text = string(encoded)
	}
	return collected[Pushed](s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_store_push(store, f.optional(project), f.optional(text), f.handle, rows, &f.raw)
	}))
}

// Selection says which pushed definitions are meant: those of a project as it was pushed last or in a version, and
// those of features; empty, all of them.
type Selection struct {
	Project        string
	ProjectVersion string
	Features       []string
}

// Loaded is a definition that was found; Problem says why it was left out, or why its version cannot be told.
type Loaded struct {
	Feature           string    `arrow:"feature"`
	Project           string    `arrow:"project"`
	FeatureVersion    string    `arrow:"feature_version"`
	DefinitionVersion string    `arrow:"definition_version"`
	ProjectVersion    string    `arrow:"project_version"`
	RecordedAt        time.Time `arrow:"recorded_at"`
	Store             string    `arrow:"store"`
	Problem           string    `arrow:"problem"`
}

// Load loads definitions that were pushed, as if they were given to Define, with what they depend on.
func (s *Store) Load(ctx context.Context, which Selection) ([]Loaded, error) {
	return collected[Loaded](s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		features, count := f.texts(which.Features)
		return C.metaxy_store_load(store, f.optional(which.Project), f.optional(which.ProjectVersion), features, count,
			f.handle, rows, &f.raw)
	}))
}

// Graph is features and how they depend on one another, as they are at one time; it never changes, and needs no store.
type Graph struct{ handle *owned[*C.MetaxyGraph] }

// NewGraph makes a graph of definitions in JSON, as Define takes them.
func NewGraph(json string, options ...Option) (*Graph, error) {
	var graph *C.MetaxyGraph
	err := call(context.Background(), func(f *frame) C.MetaxyStatus {
		return C.metaxy_graph_new(f.text(json), f.options(options), &graph, &f.raw)
	})
	return newGraph(graph, err)
}

// Graph is the graph of the features that are defined in the store now.
func (s *Store) Graph(ctx context.Context) (*Graph, error) {
	var graph *C.MetaxyGraph
	err := s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		return C.metaxy_store_graph(store, f.handle, &graph, &f.raw)
	})
	return newGraph(graph, err)
}

// PushedGraph is the graph of definitions that were pushed, chosen as by Load; the store's own stay as they are.
func (s *Store) PushedGraph(ctx context.Context, which Selection) (*Graph, error) {
	var graph *C.MetaxyGraph
	err := s.call(ctx, func(f *frame, store *C.MetaxyStore) C.MetaxyStatus {
		features, count := f.texts(which.Features)
		return C.metaxy_store_pushed_graph(store, f.optional(which.Project), f.optional(which.ProjectVersion), features,
			count, f.handle, &graph, &f.raw)
	})
	return newGraph(graph, err)
}

func newGraph(graph *C.MetaxyGraph, err error) (*Graph, error) {
	if err != nil {
		C.metaxy_graph_free(graph)
		return nil, err
	}
	return &Graph{own("graph", graph, func(graph *C.MetaxyGraph) { C.metaxy_graph_free(graph) })}, nil
}

func (g *Graph) owned() *owned[*C.MetaxyGraph] {
	if g == nil {
		return nil
	}
	return g.handle
}

// Close frees the graph; closing it again does nothing.
func (g *Graph) Close() error {
	g.owned().close()
	return nil
}

// GraphFeature is a feature of a graph, with its definition in full as JSON.
type GraphFeature struct {
	Feature
	DependsOn   []string `arrow:"depends_on"`
	ClassPath   string   `arrow:"class_path"`
	Description string   `arrow:"description"`
	Spec        string   `arrow:"spec"`
	Schema      string   `arrow:"schema"`
}

// Features lists the features, each after those that it depends on.
func (g *Graph) Features() ([]GraphFeature, error) {
	return collected[GraphFeature](g.owned().rows(context.Background(), "graph", func(f *frame, graph *C.MetaxyGraph, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_graph_features(graph, rows, &f.raw)
	}))
}

// Dependencies lists what the features depend on; the header says which columns.
func (g *Graph) Dependencies() (*Rows, error) {
	return g.owned().rows(context.Background(), "graph", func(f *frame, graph *C.MetaxyGraph, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_graph_dependencies(graph, rows, &f.raw)
	})
}

// Difference tells what of the graph differs from an earlier one, and what that makes stale; the header says which
// columns.
func (g *Graph) Difference(before *Graph) (*Rows, error) {
	if err := before.owned().usable("graph before"); err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(before)
	return g.owned().rows(context.Background(), "graph", func(f *frame, graph *C.MetaxyGraph, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_graph_difference(before.handle.pointer, graph, rows, &f.raw)
	})
}

// Render draws the graph as text for "mermaid" or "dot"; what differs from before, which may be nil, stands out.
func (g *Graph) Render(language string, before *Graph) (string, error) {
	var earlier *C.MetaxyGraph
	if before != nil {
		if err := before.handle.usable("graph before"); err != nil {
			return "", err
		}
		earlier = before.handle.pointer
	}
	defer runtime.KeepAlive(before)
	return g.text(func(f *frame, graph *C.MetaxyGraph, text **C.char) C.MetaxyStatus {
		return C.metaxy_graph_render(graph, earlier, f.text(language), text, &f.raw)
	})
}

// JSON is the definitions of the graph, as NewGraph and Define take them.
func (g *Graph) JSON() (string, error) {
	return g.text(func(f *frame, graph *C.MetaxyGraph, text **C.char) C.MetaxyStatus {
		return C.metaxy_graph_json(graph, text, &f.raw)
	})
}

func (g *Graph) text(act func(*frame, *C.MetaxyGraph, **C.char) C.MetaxyStatus) (string, error) {
	var text *C.char
	defer func() { C.metaxy_string_free(text) }()
	err := g.owned().call(context.Background(), "graph", func(f *frame, graph *C.MetaxyGraph) C.MetaxyStatus {
		return act(f, graph, &text)
	})
	return C.GoString(text), err
}

package proxyos

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// block lists the subdirectives of a block that is read into a T.
type block[T any] []subdirective[T]

// subdirective is one row. docs/reference.md has its usage word for word.
type subdirective[T any] struct {
	usage string // the name, and the grammar of the arguments
	times times
	read  func(p *parser, into *T) error // with the name as the current token
}

// times is how often a subdirective may occur in its block.
type times bool

const (
	once       times = false
	repeatable times = true // each adds to those before
)

// errArgumentCount is for read functions: it becomes an error that shows the usage.
var errArgumentCount = errors.New("wrong argument count")

func (s subdirective[T]) name() string {
	name, _, _ := strings.Cut(s.usage, " ")
	return name
}

// parser reads one block. A block inside it gets a parser of its own.
type parser struct {
	httpcaddyfile.Helper
	of        string          // how errors name the block; if empty, unlisted subdirectives go to reverse_proxy
	seen      map[string]bool // the subdirectives so far
	forwarded []caddyfile.Token
}

func newParser(helper httpcaddyfile.Helper, of string) *parser {
	return &parser{Helper: helper, of: of, seen: make(map[string]bool)}
}

// parse reads the block that follows, if there is one.
func (b block[T]) parse(p *parser, into *T) error {
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		if err := b.subdirective(p, into); err != nil {
			return err
		}
	}
	return nil
}

func (b block[T]) subdirective(p *parser, into *T) error {
	name := p.Val()
	again := p.seen[name]
	p.seen[name] = true
	for _, s := range b {
		if s.name() != name {
			continue
		}
		if again && s.times == once {
			return p.Errf("%s is already specified; write it once", name)
		}
		err := s.read(p, into)
		if errors.Is(err, errArgumentCount) {
			return p.Errf("%s: %v; write `%s`", name, err, s.usage) // unwrapped, or the outer block would say it again
		}
		return err
	}
	if p.of == "" && slices.ContainsFunc(upstreamBlock, func(s subdirective[Upstream]) bool { return s.name() == name }) {
		return p.Errf("%s belongs to one upstream; write `upstream <address> {...}` with %s in its block", name, name)
	}
	if near := b.mistyped(name); near != "" {
		return p.Errf("unrecognized subdirective %q; did you mean %s?", name, near)
	}
	if p.of != "" {
		return p.Errf("unrecognized subdirective %q of %s; it takes %s", name, p.of, b.names())
	}
	return forward(p, into)
}

// mistyped returns the subdirective that is probably meant by a name, or nothing. None of
// reverse_proxy's is so near.
func (b block[T]) mistyped(name string) string {
	if len(name) < 4 {
		return ""
	}
	var all []string
	for _, s := range b {
		if strings.HasPrefix(s.name(), name) {
			return s.name()
		}
		all = append(all, s.name())
	}
	return nearest(name, all)
}

// names returns the names as a phrase: "a, b and c".
func (b block[T]) names() string {
	var phrase strings.Builder
	for i, s := range b {
		switch {
		case i == 0:
		case i == len(b)-1:
			phrase.WriteString(" and ")
		default:
			phrase.WriteString(", ")
		}
		phrase.WriteString(s.name())
	}
	return phrase.String()
}

// forward leaves a subdirective to the parser of reverse_proxy or of its transport.
func forward[T any](p *parser, _ *T) error {
	p.forwarded = append(p.forwarded, p.NextSegment()...)
	return nil
}

// onOff reads an optional on or off; nothing means on.
func (p *parser) onOff(value **bool) error {
	name, args := p.Val(), p.RemainingArgs()
	on := len(args) == 0 || args[0] == "on"
	if len(args) > 1 || !on && args[0] != "off" {
		return p.Errf("%s takes on or off, not %q", name, strings.Join(args, " "))
	}
	*value = &on
	return nil
}

// duration reads a duration, of which an example is given.
func (p *parser) duration(value *caddy.Duration, example string) error {
	name, text := p.Val(), ""
	if !p.AllArgs(&text) {
		return errArgumentCount
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil {
		return p.Errf("%s: %q is not a duration; write one such as %s", name, text, example)
	}
	*value = caddy.Duration(duration)
	return nil
}

func (p *parser) number(value *int) error {
	name, text := p.Val(), ""
	if !p.AllArgs(&text) {
		return errArgumentCount
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return p.Errf("%s: %q is not a whole number", name, text)
	}
	*value = n
	return nil
}

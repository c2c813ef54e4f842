package dashboard

import (
	"container/list"
	"context"
)

// viewerBuffer is how many events a viewer may be behind.
const viewerBuffer = 8

// viewer is somebody who looks at a page.
type viewer struct {
	topic  topic
	events chan []byte
	cancel context.CancelFunc // ends its stream
	place  *list.Element      // among all viewers; nil once it is let go
}

func newViewer(t topic, cancel context.CancelFunc) *viewer {
	return &viewer{topic: t, events: make(chan []byte, viewerBuffer), cancel: cancel}
}

// offer hands an event to the viewer, and returns false if it is too far behind. It never waits.
func (v *viewer) offer(event []byte) bool {
	select {
	case v.events <- event:
		return true
	default:
		return false
	}
}

// Package timeline is what is still to happen in a simulation on a virtual clock.
//
// What happens at the same time happens in the order in which it was added, so that
// one seed is one run, whatever the heap does. Everything belongs to one goroutine.
package timeline

import (
	"container/heap"
	"math"
	"time"
)

// Never is the time of the next event when there is none.
const Never time.Duration = math.MaxInt64

// A Queue is events that are to come. The zero Queue has none.
type Queue[T any] struct {
	events entries[T]
	added  uint64
}

// Add adds an event, which may lie in the past: whoever takes it decides what that
// means.
func (q *Queue[T]) Add(at time.Duration, event T) {
	q.added++
	heap.Push(&q.events, entry[T]{at, q.added, event})
}

// Len is how many events are to come.
func (q *Queue[T]) Len() int { return len(q.events) }

// Next is when the first of them happens; Never if there is none.
func (q *Queue[T]) Next() time.Duration {
	if len(q.events) == 0 {
		return Never
	}
	return q.events[0].at
}

// Take removes the first event, and says when it happens. It panics if there is
// none.
func (q *Queue[T]) Take() (time.Duration, T) {
	if len(q.events) == 0 {
		panic("timeline: nothing is to come")
	}
	e := heap.Pop(&q.events).(entry[T])
	return e.at, e.event
}

type entry[T any] struct {
	at    time.Duration
	order uint64
	event T
}

// entries are a heap.Interface.
type entries[T any] []entry[T]

func (s entries[T]) Len() int { return len(s) }
func (s entries[T]) Less(i, j int) bool {
	return s[i].at < s[j].at || s[i].at == s[j].at && s[i].order < s[j].order
}
func (s entries[T]) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *entries[T]) Push(x any)   { *s = append(*s, x.(entry[T])) }
func (s *entries[T]) Pop() any {
	last := len(*s) - 1
	e := (*s)[last]
	(*s)[last] = entry[T]{} // or what the event holds would live on
	*s = (*s)[:last]
	return e
}

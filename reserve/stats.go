package reserve

// Stats is what an operator wants to see. Buffers and claims, except where it
// says otherwise.
type Stats struct {
	Regime     Regime `json:"regime"`
	Pressure   bool   `json:"pressure"`
	BufferSize int    `json:"bufferSize"` // bytes

	// Total is Reserve + Normal, and Free + Stocked + Granted + Kernel (I1).
	Total        int `json:"total"`
	Reserve      int `json:"reserve"`      // mapped at start
	Normal       int `json:"normal"`       // mapped by normal allocation now
	NormalBudget int `json:"normalBudget"` // that could be
	MappedBytes  int `json:"mappedBytes"`  // bytes of both

	Free        int `json:"free"`
	FreeReserve int `json:"freeReserve"`
	FreeNormal  int `json:"freeNormal"`
	Stocked     int `json:"stocked"` // in receive rings, the design's "probe"
	Granted     int `json:"granted"`
	Kernel      int `json:"kernel"` // lent to the kernel: none, until AF_XDP

	// ReserveLow is the least that FreeReserve ever was.
	ReserveLow int `json:"reserveLow"`

	Admitted    uint64 `json:"admitted"`
	Waited      uint64 `json:"waited"`      // claims that had to queue
	Busy        uint64 `json:"busy"`        // TryAdmits that were not served
	Refused     uint64 `json:"refused"`     // ErrTooLarge
	Cancelled   uint64 `json:"cancelled"`   // gave up waiting
	FromReserve uint64 `json:"fromReserve"` // claims that took from the reserve
	Queue       int    `json:"queue"`       // claims waiting now
	QueueMax    int    `json:"queueMax"`

	Exchanges   uint64 `json:"exchanges"`   // frames kept by exchange
	Mixed       uint64 `json:"mixed"`       // of these, between the two origins
	FreedAtOnce uint64 `json:"freedAtOnce"` // frames dropped

	NormalAllocations uint64 `json:"normalAllocations"` // buffers taken from normal memory
	NormalFailures    uint64 `json:"normalFailures"`    // times that it failed
	GrowthFailures    uint64 `json:"growthFailures"`    // of these, mapping a slab
	SlabsMapped       uint64 `json:"slabsMapped"`
	SlabsReturned     uint64 `json:"slabsReturned"`
	UnmapFailures     uint64 `json:"unmapFailures"`

	ToCrunch uint64 `json:"toCrunch"`
	ToNormal uint64 `json:"toNormal"`
}

// counters are those that only change under the lock.
type counters struct {
	reserveLow                                        int
	admitted, waited, busy, refused, cancelled        uint64
	fromReserve                                       uint64
	queueMax                                          int
	normalAllocations, normalFailures, growthFailures uint64
	slabsMapped, slabsReturned, unmapFailures         uint64
	toCrunch, toNormal                                uint64
}

// Stats is a consistent snapshot, but for the counters of frames, which stocks
// go on counting without a lock. It does not allocate.
func (r *Reserve) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.stats
	s := Stats{
		Regime: r.regime.now, Pressure: r.regime.pressure, BufferSize: r.cfg.BufferSize,
		Total:   r.cfg.Reserve + r.slabs.mapped,
		Reserve: r.cfg.Reserve, Normal: r.slabs.mapped, NormalBudget: r.slabs.budget,
		MappedBytes: len(r.arena),
		Free:        r.freeReserve.n + r.freeNormal(), FreeReserve: r.freeReserve.n, FreeNormal: r.freeNormal(),
		Stocked: r.stocked, Granted: r.granted,
		ReserveLow: c.reserveLow,
		Admitted:   c.admitted, Waited: c.waited, Busy: c.busy, Refused: c.refused, Cancelled: c.cancelled,
		FromReserve: c.fromReserve, Queue: r.waiting.n, QueueMax: c.queueMax,
		NormalAllocations: c.normalAllocations, NormalFailures: c.normalFailures, GrowthFailures: c.growthFailures,
		SlabsMapped: c.slabsMapped, SlabsReturned: c.slabsReturned, UnmapFailures: c.unmapFailures,
		ToCrunch: c.toCrunch, ToNormal: c.toNormal,
	}
	for i := range r.slabs.all {
		if sl := &r.slabs.all[i]; sl.usable {
			s.MappedBytes += len(sl.mapping)
		}
	}
	for _, stock := range r.stocks {
		s.Exchanges += stock.exchanges.Load()
		s.Mixed += stock.mismatches.Load()
		s.FreedAtOnce += stock.freed.Load()
	}
	return s
}

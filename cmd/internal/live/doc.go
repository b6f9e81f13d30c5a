// Package live shows a lab while it runs: a page for a browser, which follows it
// by server-sent events, and the same as JSON.
//
// # Usage
//
//	page, err := live.Listen("127.0.0.1:0")
//	fmt.Println(page.URL())
//	page.Watch(dir, addr)             // the disk of the lab
//	page.Begin("copy"); page.End(row)  // its steps, if it has any
//	page.Finish("All of it held")
//	err = page.Close()
//
// # What it shows
//
// Four times a second it asks the disk for its status in the run directory, as
// `aoe stat` does: the same counters, by the same way, and nothing else. Of
// the data path it knows nothing.
//
//	GET /        the page, which loads nothing but /events
//	GET /events  server-sent events: "history" first, then a "sample" for each look
//	GET /stats   the latest, with the whole status of `aoe stat --json` as "disk"
//
// # Limits
//
// It keeps two minutes, and serves 32 readers at a time; a reader that is slower
// than a second misses samples. There is no authentication: who reaches the
// address sees the counters, and can do nothing else.
//
// # Concurrency
//
// All methods may be called by any number of goroutines, and do nothing on a nil
// *Page. One goroutine asks the disk, one serves; both end with Close.
package live

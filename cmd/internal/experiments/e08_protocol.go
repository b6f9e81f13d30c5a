package experiments

import (
	"context"

	"aoe/reserve/model"
)

// protocolList is E8.
func protocolList() Experiment {
	return Experiment{
		Name: "E8", Title: "AoE off the protocol list",
		Question: "Linux since 3.6 has a reserve and an early drop. Why does its AoE driver die all the same?",
		Setup: "The machine of E2 with Linux's scheme. A frame that was received into the reserve is dropped unless its protocol is on a list: " +
			"ARP, IP, IPv6, VLAN. AoE, EtherType 0x88A2, is not. Then once more as if it were.",
		Hypothesis: "Off the list every reply that needs the reserve is thrown away, and the machine dies with no flood at all. On the list it lives.",
		Criterion:  "Dead states off the list under each kind of flood and none; none on the list.",
		run: func(context.Context, Options) (Result, error) {
			var r Result
			var all []model.Verdict
			for _, f := range []model.Flood{model.Retained, model.ReadSoon, model.NoFlood} {
				verdicts, err := searchThese(f, "linux-aoe", "linux-listed")
				if err != nil {
					return r, err
				}
				r.Differs = append(r.Differs, expect(verdicts, func(n string) bool { return n == "linux-aoe" })...)
				all = append(all, verdicts...)
			}
			r.Verdict = judge(r.Differs, len(all))
			table, _ := searched("Linux's scheme", all)
			table.Columns = append([]string{"flood"}, table.Columns...)
			chart := Chart{Title: "Linux's scheme", X: "dead states, % of those reached"}
			for i, v := range all {
				flood := []string{"unread", "read", "none"}[v.World.Flood]
				table.Rows[i] = append([]string{flood}, table.Rows[i]...)
				chart.Bars = append(chart.Bars, Bar{v.World.Policy.Name + ", " + flood, 100 * float64(v.Dead) / float64(v.States), v.Dead == 0})
			}
			r.Tables, r.Charts = []Table{table}, []Chart{chart}
			r.Finding = []string{
				"One line in a list decides. By the kernel's source it also decides for others: as long as any socket of the host may use the reserve (the kernel's NBD client has one), AoE frames that " +
					"could only be received into it are dropped, packet sockets' included. A program in the driver (XDP) runs before that. Whether a real machine gets there is for the guest to show, and not for a model.",
			}
			var err error
			r.Stories, err = stories(all[:1], "linux-aoe")
			return r, err
		},
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"aoe/cmd/internal/exit"
	"aoe/cmd/internal/experiments"
	"aoe/cmd/internal/show"
)

func newLabList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "List the experiments that aoe lab run knows",
		Long: `List the experiments about policies against deadlock: what each asks, and
whether it is a search (exhaustive), also a simulation (of --seeds seeds), or
measured on this machine: these are run only when they are named.

EXIT STATUS
  0  always
  2  the command line was not understood`,
		Example: `  aoe lab list
  aoe lab list --json | jq -r '.[].hypothesis'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return show.JSON(cmd.OutOrStdout(), experiments.All())
			}
			t := show.NewTable("name", "kind", "title")
			for _, e := range experiments.All() {
				t.Row(e.Name, e.Kind(), e.Title)
			}
			return t.Print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with question, setup, hypothesis and criterion")
	return cmd
}

// An experimentFlags is what aoe lab run and aoe lab report can be told.
type experimentFlags struct {
	experiments.Options
}

func (o *experimentFlags) define(f *pflag.FlagSet) {
	f.IntVar(&o.Seeds, "seeds", 0, "seeds for each measurement of a simulation (default 200)")
	f.Uint64Var(&o.First, "seed", 0, "the first seed; the others follow it")
}

func newLabRun() *cobra.Command {
	var o experimentFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "run [flags] NAME...",
		Short: "Run experiments about policies against deadlock",
		Long: `Run experiments and print the question, hypothesis and criterion of each, what was
found, and the verdict: whether the hypothesis holds, and where it does not. Where
a policy can die, the shortest way there is told in words. "all" runs all of them
but those that are measured on this machine and need something of it: name these.

The model is of a small machine whose memory is full of pages that must be written
to a disk on the network. Searches visit every state it can get into. Simulations
walk through the same states by chance; the same seeds give the same result.
They need no network and no privilege. NAME is one that aoe lab list prints.

EXIT STATUS
  0  they were run, whatever the verdicts
  1  one could not be run
  2  the command line was not understood, or there is no such experiment`,
		Example: `  aoe lab run E2 E10
  aoe lab run E12 --seeds 1000
  sudo aoe lab run E16
  aoe lab run all --json | jq -r '.[] | .name + " " + .result.verdict'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			chosen, err := chosenExperiments(args)
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			o.Tell = func(what string) { fmt.Fprintln(cmd.ErrOrStderr(), "aoe:", what) }
			entries := []experiments.Entry{}
			for i, e := range chosen {
				result, err := e.Run(ctx, o.Options)
				if err != nil {
					return err
				}
				if asJSON {
					entries = append(entries, experiments.Entry{Experiment: e, Result: result})
					continue
				}
				if i > 0 {
					if _, err := fmt.Fprintln(cmd.OutOrStdout()); err != nil {
						return err
					}
				}
				if err := experiments.Print(cmd.OutOrStdout(), e, result); err != nil {
					return err
				}
			}
			if asJSON {
				return show.JSON(cmd.OutOrStdout(), entries)
			}
			return nil
		},
	}
	o.define(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func chosenExperiments(names []string) ([]experiments.Experiment, error) {
	var chosen []experiments.Experiment
	for _, name := range names {
		more := experiments.Usual()
		if name != "all" {
			e, err := experiments.Find(name)
			if err != nil {
				return nil, exit.Usagef("%v", err)
			}
			more = []experiments.Experiment{e}
		}
		for _, e := range more { // once each
			if !slices.ContainsFunc(chosen, func(c experiments.Experiment) bool { return c.Name == e.Name }) {
				chosen = append(chosen, e)
			}
		}
	}
	return chosen, nil
}

func newLabReport() *cobra.Command {
	var o experimentFlags
	var dir string
	cmd := &cobra.Command{
		Use:   "report -o DIR [flags] [NAME...]",
		Short: "Run every experiment and write what was found as one page",
		Long: `Run the experiments that are named, or all but those that are measured on this
machine, and write into DIR, which is made if it is not there:

  index.html   the report, one page that needs nothing else: every policy since
               2005 and what becomes of it, and each experiment with its question,
               tables, plots, ways to die, and verdict
  report.json  the same for programs
  eN-M.svg     the plots

Takes about a minute; aoe lab list --json says what those cost that are measured.

EXIT STATUS
  0  the report is written, whatever the verdicts
  1  it could not be written, or an experiment could not be run
  2  the command line was not understood`,
		Example: `  aoe lab report -o report && xdg-open report/index.html
  aoe lab report -o report --seeds 2000
  sudo aoe lab report -o report all E16`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir == "" {
				return exit.Usagef("say where the report is to go: aoe lab report -o DIR")
			}
			if len(args) == 0 {
				args = []string{"all"}
			}
			chosen, err := chosenExperiments(args)
			if err != nil {
				return err
			}
			// Before the work, not after it.
			if err := os.MkdirAll(dir, 0o777); err != nil {
				return err
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			o.Tell = func(what string) { fmt.Fprintln(cmd.ErrOrStderr(), "aoe:", what) }
			r, err := experiments.Make(ctx, chosen, o.Options, reportVersion(), func(name string) {
				// Only for whoever watches.
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s ", name)
			})
			_, _ = fmt.Fprintln(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := r.Write(dir); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(dir, "index.html"))
			return err
		},
	}
	o.define(cmd.Flags())
	cmd.Flags().StringVarP(&dir, "output", "o", "", "directory for the report")
	return cmd
}

// reportVersion is what the report was made by: the version, and the commit when
// the build knew it.
func reportVersion() string {
	v := readVersion()
	text := v.Version
	if v.Revision != "" {
		text += ", commit " + v.Revision
	}
	if v.Modified {
		text += " with changes"
	}
	return text
}

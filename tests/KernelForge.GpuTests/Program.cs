using System.Globalization;
using System.Reflection;
using KernelForge.GpuTests;
using Xunit.Abstractions;
using Xunit.Sdk;

// Runs the tests whose name holds TEXT, by default those of the device "cuda":  KernelForge.Tests [--only TEXT] [--at-least N] [--at-most N]
// Exit code 0 when none failed and at least N ran; a test that is skipped has not run. Of more than --at-most, that many are taken evenly.
string[] texts = Value("--only") is string only ? [only] : ["\"cuda\"", "GpuDriverConformanceTests"];
int floor = Number("--at-least") ?? 1;

using var framework = new XunitTestFramework(new Xunit.Sdk.NullMessageSink());
var options = new RunOptions();

using ITestFrameworkDiscoverer discoverer = framework.GetDiscoverer(Reflector.Wrap(Assembly.GetExecutingAssembly()));
using var found = new FoundTests();
discoverer.Find(includeSourceInformation: false, found, options);
IReadOnlyList<ITestCase> chosen = [.. found.Wait().Where(test => texts.Any(text => test.DisplayName.Contains(text, StringComparison.Ordinal)))];

using ITestFrameworkExecutor executor = framework.GetExecutor(Assembly.GetExecutingAssembly().GetName());
using var results = new Results(Console.Out);
executor.RunTests(Evenly(chosen, Number("--at-most") ?? chosen.Count), results, options);
results.Wait();

Console.WriteLine($"{results.Passed} passed, {results.Failed} failed, {results.Skipped} skipped");
bool enough = results.Passed + results.Failed >= floor;
if (!enough) Console.WriteLine($"at least {floor} tests were to run, {results.Passed + results.Failed} did");
return results.Failed == 0 && enough ? 0 : 1;

string? Value(string option) => Array.IndexOf(args, option) is int at and >= 0 && at + 1 < args.Length ? args[at + 1] : null;

int? Number(string option) => Value(option) is string value ? int.Parse(value, CultureInfo.InvariantCulture) : null;

static IEnumerable<ITestCase> Evenly(IReadOnlyList<ITestCase> tests, int count) =>
    count >= tests.Count ? tests : Enumerable.Range(0, count).Select(at => tests[(int)((long)at * tests.Count / count)]);

using System.Diagnostics;
using KernelForge.Inference;

namespace KernelForge.Cli;

/// <summary><c>kf run</c>: answers the prompts of a file. Everything that can be wrong is checked before the output is touched.</summary>
internal static class RunCommand
{
    private const string Head = """
        kf run --model DIR --input FILE --output FILE [options]

        Answers every line of the input, in order. A line is one of
          {"id":"q1","prompt":"Once upon","max_tokens":64}      text; or "prompt_token_ids":[1,2,3]; or "messages":[{"role","content"}]
          {"custom_id":"q1","method":"POST","url":"/v1/completions","body":{"prompt":"Once upon"}}
          {"custom_id":"q1","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"Hello"}]}}
        with any of max_tokens, min_tokens, temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty, seed,
        stop, stop_token_ids, ignore_eos, include_stop_str_in_output, logprobs, logit_bias, n. What a line does not say comes from the
        options below, in batch lines too: the temperature is 0 unless a line or --temperature says otherwise. A line without an id is called
        "line-" and its number. The model named in a batch line is repeated in its answer and has no other effect.

        An answer is {"id","text","token_ids","finish_reason","prompt_tokens","cached_tokens"} or {"id","error"}; batch lines are answered
        in the batch format. With n above 1, "choices" holds a text, token_ids and finish_reason for each sample.

        """;

    private const string Examples = """
        Examples:
          kf run --model models/small --input prompts.jsonl --output answers.jsonl
          kf run --model models/small --input prompts.jsonl --output answers.jsonl --resume
          kf run --model models/small --input prompts.jsonl --output answers.jsonl --temperature 0.8 --top-p 0.95 --seed 7
          kf run --model models/small --input prompts.jsonl --output answers.jsonl --score expected.jsonl --summary summary.json
          kf run --model models/small --input prompts.jsonl --output answers.jsonl --draft models/tiny
          kf run --model models/small --input prompts.jsonl --output answers.jsonl --draft ngram --draft-length 4
          kf run --model models/small --input prompts.jsonl --output answers.jsonl --policy kernelforge
          kf run --model models/small --input - --output - < prompts.jsonl

        A run that ended early, by Ctrl-C too, leaves complete answers only; --resume goes on after them. Ctrl-C twice ends at once.
        --score compares the first text, without white space at its ends, or the token ids where no text is expected.
        Tokens per second: the time of a step is split between prefill and decode by the tokens that each computes in it.

        With --draft a step gives an answer all drafted tokens that the model itself would have chosen there, and one more: the same answers, at any
        temperature, sooner where drafts are good. A draft model suits any text; ngram needs none and suits answers that copy from prompts. With
        --draft-length auto nothing is drafted where it would not pay.

        """;

    public static void WriteHelp(TextWriter writer)
    {
        writer.WriteLine(Head);
        RunOptions.Table.WriteHelp(writer);
        PolicyOption.WriteHelp(writer);
        writer.WriteLine(Examples);
        writer.WriteLine(ExitCodes.Help);
    }

    /// <summary>Cancelling <paramref name="stop"/> ends the run after its current step.</summary>
    public static int Run(RunOptions options, Terminal terminal, CancellationToken stop)
    {
        long start = Stopwatch.GetTimestamp();
        using var files = RunFiles.Open(options, terminal);
        using Device device = options.Device.Open();
        using Engine engine = Load(options, device, terminal, stop);
        PackedOption.Complain(engine.PackedFileComplaint, terminal);
        double loadSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;

        // On another thread, because standard input or a pipe may keep a reader waiting whom nobody can stop.
        Queue<Answer> answers = Task.Run(() => ReadInput(options, files, engine, stop), stop).WaitAsync(stop).GetAwaiter().GetResult();
        if (options.Policy is { } policy) engine.Use(policy, [.. answers.Select(answer => answer.Request).OfType<Request>()]);
        int first = files.Before.Ids.Count, lines = first + answers.Count;
        var writer = new AnswerWriter(files.StartOutput(), files.OutputName, first);
        var loop = new RunLoop(engine, new AnswerJson(engine.Tokenizer!, ModelName(options.Model)), writer, files.Expected);
        while (answers.TryDequeue(out Answer? answer)) loop.Add(answer); // held until they are written

        var progress = new Progress(terminal, lines, options.Quiet);
        EngineMemory memory = engine.Memory!.Value;
        int blocks = (int)(memory.KvCache / memory.BytesPerBlock);
        bool finished = RunToEnd(loop, progress, blocks, options, writer, device, stop);

        RunSummary summary = RunSummary.Of(engine.Counters, engine.KvReads, loop) with
        {
            Lines = lines,
            AlreadyAnswered = first,
            Answered = writer.Next - first,
            Interrupted = !finished,
            WallSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds,
            LoadSeconds = loadSeconds,
            KvBlocks = blocks,
            KvBlockSize = options.Engine.BlockSize,
            KvBytes = memory.KvCache,
            Speculation = engine.Speculation,
            Latencies = engine.Latencies,
            TimeBetweenTokens = options.Engine.TimeBetweenTokens,
            Groups = options.Engine.Decodes as EqualLengthDecodes,
            Device = $"{device.Name}, computing in {engine.Options!.ComputeType}{ActivationsOption.Remark(engine.Options)}",
        };
        return Report(options, terminal, summary, files.Before.Errors);
    }

    private static bool RunToEnd(
        RunLoop loop, Progress progress, int blocks, RunOptions options, AnswerWriter writer, Device device, CancellationToken stop)
    {
        try
        {
            return loop.Run(progress, blocks, stop);
        }
        catch (CudaException error)
        {
            string rest = options.Output == RunOptions.Standard ? "" : "; what is there is complete, and --resume goes on";
            throw new CommandException($"{device.Name} failed after {writer.Next} answers{rest}: {error.Message}");
        }
        finally
        {
            progress.Clear();
        }
    }

    private static Engine Load(RunOptions options, Device device, Terminal terminal, CancellationToken stop)
    {
        var progress = new LoadProgress(terminal, options.Quiet);
        try
        {
            return Engine.Load(options.Model, options.Engine, device, progress, stop);
        }
        catch (Exception error) when (error is ArgumentException or OverflowException)
        {
            throw OptionNames.Complaint(error);
        }
        finally
        {
            progress.Clear();
        }
    }

    /// <summary>Answers to come for the lines that the output does not have yet. Ends early when told to stop.</summary>
    private static Queue<Answer> ReadInput(RunOptions options, RunFiles files, Engine engine, CancellationToken stop)
    {
        var builder = new RequestBuilder(engine.Tokenizer!, engine.ChatTemplate, options.Raw);
        List<string> ids = [];
        Queue<Answer> answers = [];
        foreach (PromptRecord record in new PromptReader(options.Defaults).Read(files.Input))
        {
            stop.ThrowIfCancellationRequested();
            if (ids.Count >= files.Before.Ids.Count) answers.Enqueue(builder.Begin(record, ids.Count));
            ids.Add(record.Id);
        }
        files.Before.RequireBeginningOf(ids, files.OutputName);
        return answers;
    }

    private static int Report(RunOptions options, Terminal terminal, RunSummary summary, int earlierErrors)
    {
        if (options.Summary is { } path)
        {
            using FileStream file = File.Create(path);
            summary.WriteJson(file);
        }
        if (!options.Quiet) summary.WriteText(terminal.Error);
        if (summary.Score is (0, _)) terminal.Error.WriteLine($"kf: {options.Score} has no expected answer for any line of this run.");
        if (summary.Interrupted)
        {
            string how = options.Output == RunOptions.Standard ? "" : "; the same command with --resume, and without --overwrite, goes on";
            terminal.Error.WriteLine($"kf: Interrupted with {summary.AlreadyAnswered + summary.Answered} of {summary.Lines} lines answered{how}.");
            return ExitCodes.Interrupted;
        }
        return summary.Errors + earlierErrors > 0 ? ExitCodes.SomeLinesFailed : ExitCodes.Answered;
    }

    private static string ModelName(string folder) => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
}

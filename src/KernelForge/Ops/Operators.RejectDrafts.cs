namespace KernelForge;

public abstract partial class Operators
{
    /// <summary>
    /// Chooses the token after each node by rejection sampling (arXiv:2211.17192, 2302.01318), so that it follows the target's distribution p when the drafted
    /// token x was drawn from q: x with probability min(1, p(x) / q(x)), else a draw from max(p - q, 0). p and q are what temperature, top-k, top-p and min-p of
    /// <see cref="Sample"/> leave of the logits. More drafts are accepted than where x has to equal the draw of <see cref="Sample"/>, but tokens depend on what was
    /// drafted. For <see cref="VerifyDrafts"/> as it is.
    /// </summary>
    /// <remarks>
    /// Random numbers are keyed by (seed, position) and have purposes of their own: the choice is independent of a draw of x by <see cref="Sample"/> with any seed.
    /// Drafters take the seed <see cref="DraftSeed.Of"/>, so that a draft is independent of the draws of nodes without one too. At temperature 0 it is the largest
    /// logit. Where p equals q but for rounding it is x. Nodes do not depend on one another.
    /// </remarks>
    /// <param name="logits">F32 [nodes, vocabulary] of the target model.</param>
    /// <param name="draftLogits">F32 [nodes, vocabulary]: what the drafted token was drawn from, with the settings in <paramref name="rows"/>; rows of nodes
    /// without one are not read. Empty where drafts were certain and not drawn.</param>
    /// <param name="rows">[nodes] how to draw.</param>
    /// <param name="drafted">[nodes] the drafted token after each node, -1 for none, which draws as <see cref="Sample"/> does.</param>
    /// <param name="chosen">[nodes] the token after each node; may be <paramref name="drafted"/>.</param>
    public void RejectDrafts(
        in DeviceMatrix logits, in DeviceMatrix draftLogits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> drafted, DeviceSpan<int> chosen)
    {
        CheckLogits("RejectDrafts", logits);
        if (!draftLogits.IsEmpty)
        {
            CheckFloat("RejectDrafts", "draftLogits", draftLogits, logits.Rows, logits.Columns);
            Check.That(draftLogits.DType == DType.F32, $"RejectDrafts: draftLogits is {draftLogits}, expected F32");
        }
        CheckLength("RejectDrafts", "rows", rows, logits.Rows);
        CheckLength("RejectDrafts", "drafted", drafted, logits.Rows);
        CheckLength("RejectDrafts", "chosen", chosen, logits.Rows);
        if (logits.Rows > 0) RejectDraftsCore(logits, draftLogits, rows, drafted, chosen);
    }

    /// <summary>Computes <see cref="RejectDrafts"/> on checked arguments.</summary>
    protected abstract void RejectDraftsCore(
        in DeviceMatrix logits, in DeviceMatrix draftLogits, DeviceSpan<SamplingRow> rows, DeviceSpan<int> drafted, DeviceSpan<int> chosen);
}

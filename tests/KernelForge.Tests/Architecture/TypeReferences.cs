using System.Reflection;
using System.Reflection.Emit;

namespace KernelForge.Tests;

/// <summary>Which types a type names: in fields, signatures, base types and method bodies.</summary>
internal static class TypeReferences
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static readonly Dictionary<short, OpCode> CodeByValue =
        typeof(OpCodes).GetFields().Select(field => (OpCode)field.GetValue(null)!).ToDictionary(code => code.Value);

    /// <summary>All types of the root's assembly that can be reached from it, with the types of other assemblies they name.</summary>
    public static HashSet<Type> Closure(IEnumerable<Type> roots)
    {
        var found = new HashSet<Type>();
        var open = new Stack<Type>(roots);
        Assembly home = open.Peek().Assembly;
        while (open.TryPop(out Type? type))
        {
            if (!found.Add(type) || type.Assembly != home) continue;
            foreach (Type named in NamedBy(type)) open.Push(named);
        }
        return found;
    }

    public static HashSet<Type> NamedBy(Type type)
    {
        var named = new HashSet<Type>();
        Add(named, type.BaseType);
        foreach (Type face in type.GetInterfaces()) Add(named, face);
        foreach (FieldInfo field in type.GetFields(Declared)) Add(named, field.FieldType);
        foreach (Type nested in type.GetNestedTypes(Declared)) Add(named, nested);
        foreach (MethodInfo method in type.GetMethods(Declared))
        {
            Add(named, method.ReturnType);
            AddMethod(named, method);
        }
        foreach (ConstructorInfo constructor in type.GetConstructors(Declared)) AddMethod(named, constructor);
        return named;
    }

    private static void Add(HashSet<Type> named, Type? type)
    {
        if (type is null || type.IsGenericParameter) return;
        if (type.HasElementType)
        {
            Add(named, type.GetElementType());
            return;
        }
        foreach (Type argument in type.GetGenericArguments()) Add(named, argument);
        named.Add(type.IsGenericType ? type.GetGenericTypeDefinition() : type);
    }

    private static void AddMethod(HashSet<Type> named, MethodBase method)
    {
        foreach (ParameterInfo parameter in method.GetParameters()) Add(named, parameter.ParameterType);
        if (method.GetMethodBody() is not { } body) return;

        foreach (LocalVariableInfo local in body.LocalVariables) Add(named, local.LocalType);
        byte[] code = body.GetILAsByteArray()!;
        for (int at = 0; at < code.Length;)
        {
            short value = code[at] == 0xFE ? (short)(0xFE00 | code[at + 1]) : code[at];
            OpCode opCode = CodeByValue[value];
            at += opCode.Size;
            if (opCode.OperandType is OperandType.InlineField or OperandType.InlineMethod or OperandType.InlineTok or OperandType.InlineType)
                AddMember(named, method, BitConverter.ToInt32(code, at));
            at += OperandSize(opCode, code, at);
        }
    }

    private static void AddMember(HashSet<Type> named, MethodBase method, int token)
    {
        Type[] ofMethod = method.IsGenericMethod ? method.GetGenericArguments() : [];
        MemberInfo? member = method.Module.ResolveMember(token, method.DeclaringType!.GetGenericArguments(), ofMethod);
        Add(named, member as Type ?? member?.DeclaringType);
        if (member is MethodInfo called)
        {
            Add(named, called.ReturnType);
            foreach (Type argument in called.GetGenericArguments()) Add(named, argument);
        }
    }

    private static int OperandSize(OpCode code, byte[] il, int at) => code.OperandType switch
    {
        OperandType.InlineNone => 0,
        OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
        OperandType.InlineVar => 2,
        OperandType.InlineI8 or OperandType.InlineR => 8,
        OperandType.InlineSwitch => 4 + 4 * BitConverter.ToInt32(il, at),
        _ => 4,
    };
}
